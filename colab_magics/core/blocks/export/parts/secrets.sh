# Secrets: from the token file, or from the environment. They stay in variables that no program is shown.
# shellcheck shell=sh disable=SC2154,SC2034

# token_file [NAME]: print from the token file the secret of that name; without a name a line for each host that has a
# token there: host, token, user name. Prints nothing when there is no token file.
token_file() {
  file=$(expand_path "${COLAB_MAGICS_TOKEN_FILE:-~/.config/colab_magics/tokens.json}") || exit 1
  if [ -n "${COLAB_MAGICS_TOKEN_FILE-}" ]; then
    [ -f "$file" ] || fail "the token file $file does not exist; correct its path, or write it"
  elif [ ! -f "$file" ]; then
    file=$(drive_root 2>/dev/null)/colab_magics/tokens.json || return 0
    [ -f "$file" ] || return 0
  fi
  "$PYTHON" -I - "$file" "$@" <<'END_OF_PYTHON' || fail "the token file $file cannot be read: $PYTHON must be there, and the file be of the form {\"access_token\": \"...\"}"
import json, sys

with open(sys.argv[1], encoding="utf-8-sig") as file:
    held = json.load(file)
if len(sys.argv) > 2:
    print(held.get("secrets", {}).get(sys.argv[2], "").strip())
else:
    for host, entry in {"github.com": held, **held}.items():
        if host != "secrets" and isinstance(entry, dict) and entry.get("access_token"):
            host = host.split("://")[-1].strip("/").lower()
            print(host, entry["access_token"].strip(), entry.get("username", ""))
END_OF_PYTHON
}

# secret NAME VARIABLE: print the secret of that name.
secret() {
  found=$(token_file "$1") || exit 1
  for name in "$2" "$(printf '%s' "$1" | tr -c 'A-Za-z0-9_' _)"; do
    [ -n "$found" ] || eval "found=\${$name-}"
  done
  [ -n "$found" ] || fail "the secret $1 was not found; put it into the token file as {\"secrets\": {\"$1\": \"...\"}}, or into the environment as $2"
  printf '%s\n' "$found"
}
