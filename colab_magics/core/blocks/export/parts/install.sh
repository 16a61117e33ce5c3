# Packages, with git asking for its tokens while it runs.
# shellcheck shell=sh disable=SC2154,SC2034

# private_pip [OPTIONS] WHAT...: WHAT is `--repo URL REF EXTRAS SUBDIRECTORY`, `--own NAME REF EXTRAS SUBDIRECTORY` (the
# token file says whose), `--folder FOLDER EXTRAS`, `-r FILE` or `-c FILE`; '' stands for none. All are one installation. It is
# called in a subshell, so that what git is told of tokens ends with it.
private_pip() {
  editable='' again='' source_folder='' tokens_from='' named='' flags='' extra='' todo=''
  while :; do
    case $1 in
      --upgrade | --force-reinstall) again=yes flags="$flags $1" ;;
      --no-deps) flags="$flags $1" ;;
      --editable) editable=yes ;;
      --src) source_folder=$2 && shift ;;
      --token-file) tokens_from=$2 && shift ;;
      --token) named=$2 && shift ;;
      --index-url) PIP_INDEX_URL=$2 && export PIP_INDEX_URL && shift ;;
      --extra-index-url) extra="${extra:+$extra }$2" && shift ;;
      *) break ;;
    esac
    shift
  done
  # In its environment, so that what builds a package finds its tools there too.
  if [ -n "$extra" ]; then
    PIP_EXTRA_INDEX_URL=$extra
    export PIP_EXTRA_INDEX_URL
  fi
  [ -z "$source_folder" ] || source_folder=$(expand_path "$source_folder")
  load_tokens "$tokens_from"
  hosts=
  for word in "$@"; do
    case $word in
      https://*/* | http://*/*)
        host=${word#*://}
        hosts="$hosts ${host%%/*}"
        ;;
    esac
  done
  open_git "$hosts"
  : >"$private/wanted"
  left=$#
  while [ "$left" -gt 0 ]; do
    case $1 in
      --repo | --own)
        url=$2
        if [ "$1" = --own ]; then
          url=$(own_url "$2")
        fi
        resolve "$url" "$3"
        requirement "$4" "$5"
        shift 5
        left=$((left - 5))
        ;;
      --folder)
        folder=$(expand_path "$2")
        [ -d "$folder" ] || fail "the folder '$2' does not exist; correct it, or sync it first"
        moved=''
        in_place "$(absolute "$folder")" "$3"
        shift 3
        left=$((left - 3))
        ;;
      -r | -c)
        option=$1 file=$(expand_path "$2")
        [ -f "$file" ] || fail "the file '$2' of $1 does not exist; correct it, or sync it first"
        [ "$1" = -c ] || todo=yes
        shift 2
        left=$((left - 2))
        set -- "$@" "$option" "$file"
        continue
        ;;
    esac
    [ -z "$asked" ] || todo=yes
    if [ -n "$asked" ] && [ -n "$editable" ]; then
      set -- "$@" --editable "$asked"
    elif [ -n "$asked" ]; then
      set -- "$@" "$asked"
    fi
  done
  if [ -z "$todo" ]; then
    say "line $line: private_pip: up to date"
    return 0
  fi
  # shellcheck disable=SC2086 # the flags are words of their own
  pip $flags "$@"
  # pip leaves a package alone whose version is the one it has, whatever commit it was built from.
  while IFS=$tab read -r url commit subdirectory asked; do
    now=$(ask_python installed "$url" "${subdirectory#-}")
    case $now in
      "$commit"*) ;;
      *) pip --force-reinstall --no-deps "$asked" </dev/null ;;
    esac
  done <"$private/wanted"
  rm -f "$private"/token.*
  say "line $line: private_pip: installed"
}

# requirement EXTRAS SUBDIRECTORY: set $asked to what pip is asked for; '' when it is installed at that commit.
requirement() {
  if [ -n "$editable" ]; then
    name=${url##*/} name=${name%.git}
    clone=${source_folder:-src}/$name
    if [ -z "$source_folder" ] && [ ! -e "$clone" ] && [ -e "$name/.git" ]; then
      clone=$name # an earlier version cloned to the working folder
    fi
    check_out "$clone"
    in_place "$(absolute "$clone${2:+/$2}")" "$1"
    return 0
  fi
  asked=
  if [ -z "$again" ] && [ "$(ask_python satisfied "$url" "$2" "$1" "$flags")" = "$commit" ]; then
    return 0
  fi
  asked="git+$url@$commit${2:+#subdirectory=$2}"
  if [ -n "$1" ]; then
    # Extras need the project's name, and only its metadata knows that.
    pip --quiet --dry-run --no-deps --ignore-installed --report "$private/report" "$asked"
    name=$(ask_python name "$private/report")
    asked="${name}[$1] @ $asked"
  fi
  printf '%s\t%s\t%s\t%s\n' "$url" "$commit" "${2:--}" "$asked" >>"$private/wanted"
}

# in_place FOLDER EXTRAS: set $asked to a folder; '' when it is installed in place already and has not moved.
in_place() {
  asked="$1${2:+[$2]}"
  if [ -n "$editable" ] && [ -z "$again$moved" ] && [ -n "$(ask_python editable "$1" '' "$2" "$flags")" ]; then
    asked=
  fi
}

# git_clone [--depth N] [--token NAME] --repo URL REF FOLDER: or --own NAME in place of --repo. In a subshell, as above.
git_clone() {
  depth='' named=''
  while [ "$1" != --repo ] && [ "$1" != --own ]; do
    case $1 in
      --depth) depth=$2 ;;
      --token) named=$2 ;;
    esac
    shift 2
  done
  load_tokens ''
  url=$2
  if [ "$1" = --own ]; then
    url=$(own_url "$2")
  fi
  host=${url#*://}
  open_git "${host%%/*}"
  resolve "$url" "$3"
  folder=$(expand_path "$4")
  check_out "$folder"
  moved=${moved:+at }
  if git -C "$folder" lfs version >/dev/null 2>&1; then
    git -C "$folder" lfs install --local --skip-repo >/dev/null && git -C "$folder" lfs pull
  fi
  rm -f "$private"/token.*
  say "line $line: git_clone: ${moved:-up to date, }$(git -C "$folder" rev-parse --short HEAD)"
}

# resolve URL REF: set $commit to what the host says the ref is, and $branch when it is one.
resolve() {
  branch=
  commit=$2
  case ${#2}$2 in
    40*[!0-9a-f]* | 64*[!0-9a-f]*) ;;
    40* | 64*) return 0 ;;
  esac
  git ls-remote --symref "$1" >"$private/refs" ||
    fail "$1 cannot be read: check its name, the network, and that its token is there and may read it"
  found=$(awk -F '\t' -v ref="${2:-HEAD}" '
    $1 ~ /^ref: / { if ($2 == "HEAD") head = substr($1, 6); next }
    { at[$2] = $1 }
    END {
      if (ref == "HEAD" && (ref in at)) {
        print at[ref], head
        exit
      }
      split(ref " refs/" ref " refs/tags/" ref " refs/heads/" ref, names, " ")
      for (i = 1; i <= 4; i++) if (names[i] in at) {
        print ((names[i] "^{}") in at) ? at[names[i] "^{}"] : at[names[i]], names[i]
        exit
      }
      if (ref ~ /^[0-9a-f]+$/ && length(ref) >= 7) {
        for (name in at) if (index(at[name], ref) == 1) found = at[name]
        print found ? found : ref
      }
    }' "$private/refs")
  [ -n "$found" ] || fail "$1 has no branch, tag or commit '$2'"
  commit=${found%% *}
  case $found in
    *' refs/heads/'*) branch=${found#* refs/heads/} ;;
  esac
}

# own_url NAME: print the address of a repository that is named alone: the token file's username is its owner.
own_url() {
  owner=$(printf '%s\n' "$tokens" | awk -F '\t' '
    $1 == "username" { owner[$2] = $3; host = $2; if (!seen[$2]++) count++ }
    END {
      if ("github.com" in owner) print "github.com/" owner["github.com"]
      else if (count == 1) print host "/" owner[host]
    }')
  [ -n "$owner" ] || fail "whose '$1'? Give it as owner/$1, or put \"username\" into the token file"
  printf '%s\n' "$(scheme_of "${owner%%/*}")://$owner/$1.git"
}

# check_out FOLDER: make it a clone of $url at $commit, without ever losing a change in it; set $moved if it was not.
check_out() {
  moved=yes
  if [ ! -d "$1" ] || [ -z "$(find "$1/." ! -name . -prune -print)" ]; then
    mkdir -p "$(dirname "$1")"
    git clone --quiet ${depth:+--depth "$depth"} --recurse-submodules ${branch:+--branch "$branch"} "$url" "$1" ||
      fail "$url could not be cloned into '$1'; what git says stands above"
    if [ -z "$branch" ]; then
      git -C "$1" checkout --quiet --recurse-submodules "$commit"
    fi
    return 0
  fi
  [ -e "$1/.git" ] || fail "'$1' is there and is no clone of $url; move it away, or clone elsewhere"
  if [ "$(git -C "$1" rev-parse HEAD)" = "$commit" ]; then
    moved=
    return 0
  fi
  [ -z "$(git -C "$1" status --porcelain --untracked-files=no)" ] ||
    fail "'$1' has changes that are not committed, so it was not moved; commit or stash them"
  git -C "$1" fetch --quiet --tags origin || fail "$url could not be fetched into '$1'; what git says stands above"
  if [ -n "$branch" ]; then
    git -C "$1" checkout --quiet "$branch"
    git -C "$1" merge --quiet --ff-only "$commit" ||
      fail "'$1' has commits of its own, so it was not moved to those of $url; push them, or clone elsewhere"
  else
    git -C "$1" checkout --quiet "$commit"
  fi
  git -C "$1" submodule update --quiet --init --recursive
}

# pip_install ARGUMENT...: what `pip install` takes; private repositories in it install with their token too.
# Called in a subshell, as above.
pip_install() {
  load_tokens ''
  open_git ''
  pip "$@"
  rm -f "$private"/token.*
  say "line $line: pip: done"
}

pip() {
  "$PYTHON" -m pip install --no-input --disable-pip-version-check --no-color --root-user-action=ignore "$@"
}

# open_git HOSTS: let git ask for the token of each host when it needs it. What it is told about where to ask is in its
# environment; the tokens are in private files that go when the script ends.
open_git() {
  unset GIT_TRACE GIT_TRACE_CURL GIT_TRACE_CURL_NO_DATA GIT_TRACE_PACKET GIT_TRACE_SETUP GIT_TRACE_REDACT GIT_TRACE2 \
    GIT_TRACE2_EVENT GIT_TRACE2_PERF GIT_CURL_VERBOSE GIT_ASKPASS SSH_ASKPASS GIT_REDACT_COOKIES
  GIT_TERMINAL_PROMPT=0
  SSH_ASKPASS_REQUIRE=never
  PIP_NO_INPUT=1
  count=${GIT_CONFIG_COUNT:-0}
  export GIT_TERMINAL_PROMPT SSH_ASKPASS_REQUIRE PIP_NO_INPUT
  known=$(printf '%s\n' "$tokens" | awk -F '\t' '$1 == "access_token" { print $2 }')
  done=
  for host in $1 $known $(hosts_of_environment); do
    case " $done " in
      *" $host "*) continue ;;
    esac
    done="$done $host"
    token=
    case " $1 " in
      *" $host "*)
        if [ -n "$named" ]; then
          token=$(secret "$named" "$(secret_variable "$named")")
        fi
        ;;
    esac
    if [ -z "$token" ]; then
      token=$(look_up access_token "$host")
    fi
    if [ -z "$token" ]; then
      token=$(token_of_environment "$host")
    fi
    if [ -n "$token" ]; then
      serve "$host"
    fi
  done
  token=
}

# serve HOST: answer git with $token for this host alone.
serve() {
  (
    umask 077
    printf 'username=%s\npassword=%s\n' "$(user_for "$1" "$(look_up username "$1")")" "$token" >"$private/token.$count"
  )
  site=$(scheme_of "$1")://$1
  quoted=$(printf '%s' "$private/token.$count" | sed "s/'/'\\\\''/g")
  git_setting "credential.$site.helper" '' # forgets the helpers that were configured before
  git_setting "credential.$site.helper" "!f() { test \"\$1\" != get || cat '$quoted'; }; f"
  git_setting "credential.$site.useHttpPath" true
  git_setting "url.$site/.insteadOf" "ssh://git@$1/"
  git_setting "url.$site/.insteadOf" "ssh://$1/"
  case $1 in
    *:*) ;;
    *)
      git_setting "url.$site/.insteadOf" "git@$1:"
      git_setting "url.$site/.insteadOf" "ssh://git@$1:22/"
      git_setting "url.$site/.insteadOf" "git://$1/"
      ;;
  esac
}

# git_setting KEY VALUE: configure git for this step.
git_setting() {
  eval "GIT_CONFIG_KEY_$count=\$1 GIT_CONFIG_VALUE_$count=\$2"
  export "GIT_CONFIG_KEY_$count" "GIT_CONFIG_VALUE_$count"
  count=$((count + 1))
  GIT_CONFIG_COUNT=$count
  export GIT_CONFIG_COUNT
}

# scheme_of HOST: https, but http on this machine.
scheme_of() {
  case ${1%:*} in
    127.* | localhost | '[::1]') echo http ;;
    *) echo https ;;
  esac
}

# secret_variable NAME: print the environment variable of a named secret.
secret_variable() {
  printf 'COLAB_MAGICS_SECRET_%s\n' "$(printf '%s' "$1" | tr 'a-z.-' 'A-Z__')"
}

# ask_python QUESTION...: what is installed.
ask_python() {
  "$PYTHON" -I - "$@" <<'END_OF_PYTHON'
@installed.py@
END_OF_PYTHON
}
