# Tokens and other secrets. They pass through variables that are not exported, pipes and the shell's own printf:
# never through a program's arguments or environment.
# shellcheck shell=sh disable=SC2154,SC2034

# token_file PATH: print where the token file is, PATH or '' for the usual places; nothing when there is none.
token_file() {
  if [ -n "${1:-${COLAB_MAGICS_TOKEN_FILE-}}" ]; then
    file=$(expand_path "${1:-$COLAB_MAGICS_TOKEN_FILE}") || exit 1
    [ -f "$file" ] || fail "the token file $file does not exist; correct its path, or write it"
    printf '%s\n' "$file"
    return 0
  fi
  for file in ~/.config/colab_magics/tokens.json "$(drive_root 2>/dev/null)/colab_magics/tokens.json"; do
    if [ -f "$file" ]; then
      printf '%s\n' "$file"
      return 0
    fi
  done
}

# load_tokens PATH: read the token file into $tokens, a line for each: kind, host or name, value (tabs between).
load_tokens() {
  tokens=
  file=$(token_file "$1")
  if [ -n "$file" ]; then
    tokens=$(read_tokens <"$file") || fail "the token file $file is not of the form {\"access_token\": \"...\", \"username\": \"...\"}"
  fi
}

# Read the JSON of a token file.
read_tokens() {
  LC_ALL=C awk '
    function wrong() {
      failed = 1
      exit 1
    }
    function blank() {
      while (at <= size && index(" \t\r\n", substr(json, at, 1))) at++
    }
    function character(code) {
      if (code < 128) return sprintf("%c", code)
      if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
      return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    }
    function string(  out, c, code, i) {
      at++
      while (at <= size) {
        c = substr(json, at++, 1)
        if (c == "\"") return out
        if (c == "\\") {
          c = substr(json, at++, 1)
          if (c == "u") {
            code = 0
            for (i = 0; i < 4; i++) code = code * 16 + index("0123456789abcdef", tolower(substr(json, at++, 1))) - 1
            c = character(code)
          } else if (index("bfnrt", c)) {
            c = "\n"
          }
        }
        out = out c
      }
      wrong()
    }
    function value(depth, outer, inner,  c, key, close_) {
      blank()
      c = substr(json, at, 1)
      if (c == "\"") {
        keep(depth, outer, inner, string())
      } else if (c == "{" || c == "[") {
        close_ = c == "{" ? "}" : "]"
        at++
        blank()
        if (substr(json, at, 1) == close_) {
          at++
          return
        }
        while (1) {
          key = ""
          if (c == "{") {
            blank()
            if (substr(json, at, 1) != "\"") wrong()
            key = string()
            blank()
            if (substr(json, at++, 1) != ":") wrong()
          }
          value(depth + 1, depth ? outer : key, depth ? key : "")
          blank()
          key = substr(json, at++, 1)
          if (key == close_) return
          if (key != ",") wrong()
        }
      } else if (match(substr(json, at), /^(true|false|null|-?[0-9][0-9.eE+-]*)/)) {
        at += RLENGTH
      } else {
        wrong()
      }
    }
    function keep(depth, outer, inner, text,  host, kind) {
      gsub(/^[ \t\r\n]+|[ \t\r\n]+$/, "", text)
      if (text == "") return
      kind = depth == 1 ? outer : inner
      host = depth == 1 ? "github.com" : tolower(outer)
      sub(/^https?:\/\//, "", host)
      sub(/\/+$/, "", host)
      if (depth == 2 && outer == "secrets") {
        if (text ~ /[\n\t]/) wrong()
        print "secret\t" inner "\t" text
      } else if (depth <= 2 && (kind == "access_token" || kind == "username")) {
        if (text ~ /[ \t\r\n]/) wrong()
        print kind "\t" host "\t" text
      }
    }
    { json = json $0 "\n" }
    END {
      if (failed) exit 1
      sub(/^\357\273\277/, "", json)
      size = length(json)
      at = 1
      blank()
      if (substr(json, at, 1) != "{") wrong()
      value(0, "", "")
      blank()
      if (at <= size) wrong()
    }'
}

# look_up KIND NAME: print what $tokens holds under it.
look_up() {
  printf '%s\n' "$tokens" | {
    found=
    while IFS=$tab read -r kind name held; do
      if [ "$kind $name" = "$1 $2" ]; then
        found=$held
      fi
    done
    printf '%s' "$found"
  }
}

# look_in NAME...: print the first of these variables that is not blank.
look_in() {
  for name in "$@"; do
    eval "value=\${$name-}"
    if [ -n "$value" ]; then
      printf '%s' "$value"
      return 0
    fi
  done
}

# secret NAME VARIABLE: print the secret of that name: from the token file, or from the environment.
secret() {
  found=$(look_up secret "$1")
  if [ -z "$found" ]; then
    case $1 in
      *[!A-Za-z0-9_]*) found=$(look_in "$2") ;;
      *) found=$(look_in "$2" "$1") ;;
    esac
  fi
  [ -n "$found" ] || fail "the secret $1 was not found; put it into the token file as {\"secrets\": {\"$1\": \"...\"}}, or into the environment as $2"
  printf '%s\n' "$found"
}
