# Packages, with git asking for its tokens while it runs. All of a step is called in a subshell, so that what git is told
# of tokens ends with it.
# shellcheck shell=sh disable=SC2154,SC2034

# open_git [HOST...]: let git find the token of each host that the token file or the environment has one for; $token, if
# it is set, is that of HOST... What git is told is where to ask: the tokens lie in private files.
open_git() {
  unset GIT_TRACE GIT_TRACE_CURL GIT_TRACE_CURL_NO_DATA GIT_TRACE_PACKET GIT_TRACE_SETUP GIT_TRACE_REDACT GIT_TRACE2 \
    GIT_TRACE2_EVENT GIT_TRACE2_PERF GIT_CURL_VERBOSE GIT_ASKPASS SSH_ASKPASS GIT_REDACT_COOKIES
  export GIT_TERMINAL_PROMPT=0 SSH_ASKPASS_REQUIRE=never PIP_NO_INPUT=1
  rm -f "$private"/token.*
  : >"$private/wanted"
  : >"$private/repositories"
  known=$(token_file)
  {
    for host in "$@"; do
      printf '%s %s\n' "$host" "${token-}"
    done
    printf '%s\n' "$known"
    printf '%s %s\n' github.com "${GITHUB_TOKEN:-${GH_TOKEN-}}" gitlab.com "${GITLAB_TOKEN-}" \
      bitbucket.org "${BITBUCKET_TOKEN-}" dev.azure.com "${AZURE_DEVOPS_EXT_PAT-}"
  } >"$private/tokens"
  while IFS=' ' read -r host token user; do
    if [ -n "$token" ] && [ ! -e "$private/token.$host" ]; then
      answer "$host"
    fi
  done <"$private/tokens"
  rm -f "$private/tokens"
}

# answer HOST: have git told $user and $token for this host alone.
answer() {
  case $token:$1 in
    ATCTT3*) user=x-token-auth ;;
    ATATT3*) user=x-bitbucket-api-token-auth ;;
    glcbt-*) user=gitlab-ci-token ;;
    *:*gitlab*) user=${user:-oauth2} ;;
    *) user=${user:-x-access-token} ;;
  esac
  printf 'username=%s\npassword=%s\n' "$user" "$token" >"$private/token.$1"
  site=$(site_of "$1")
  # The empty helper forgets those that were configured before.
  set -- "credential.$site.helper" '' "credential.$site.helper" "!f() { test \"\$1\" != get || cat '$private/token.$1'; }; f" \
    "url.$site/.insteadOf" "ssh://git@$1/" "url.$site/.insteadOf" "ssh://$1/" "url.$site/.insteadOf" "git@$1:"
  while [ "$#" -gt 0 ]; do
    count=${GIT_CONFIG_COUNT:-0}
    eval "export GIT_CONFIG_KEY_$count=\"\$1\" GIT_CONFIG_VALUE_$count=\"\$2\""
    export GIT_CONFIG_COUNT=$((count + 1))
    shift 2
  done
}

# site_of HOST: print the beginning of its addresses; on this machine http will do.
site_of() {
  case ${1%:*} in
    127.* | localhost | '[::1]') echo "http://$1" ;;
    *) echo "https://$1" ;;
  esac
}

# want URL REF SUBDIRECTORY EXTRAS: ask for a package at what REF is now, unless it is installed from that commit.
want() {
  resolve "$1" "$2"
  [ -n "${again-}$4" ] || [ "$(installed "$1" "$3")" != "$commit" ] || return 0
  asked="git+$1@$commit${3:+#subdirectory=$3}"
  [ -z "$4" ] || asked="$(project_name "$asked")[$4] @ $asked" #: extras
  printf '%s\n' "$asked" >>"$private/wanted"
  printf '%s\n' "$1" "$3" "$commit" "$asked" >>"$private/repositories"
}

# resolve URL REF: set $commit to what the host says the ref is, and $branch when it is one.
resolve() {
  branch='' #: check_out
  if [ -n "$2" ]; then
    git ls-remote "$1" "refs/${2#refs/}" "refs/heads/$2" "refs/tags/$2" "refs/tags/$2^{}" >"$private/refs"
  else
    git ls-remote --symref "$1" HEAD >"$private/refs"
  fi || fail "$1 cannot be read: check its name, the network, and that its token is there and may read it"
  # The last one is a tag's commit, if it is a tag.
  commit=$(tail -n 1 "$private/refs" | cut -f 1)
  grep -q refs/tags/ "$private/refs" || branch=$(sed -n 's|.*refs/heads/||p' "$private/refs" | cut -f 1) #: check_out
  case $commit:$2 in
    : | :*[!0-9a-f]*) fail "$1 has no branch, tag or commit '$2'" ;;
    :*) commit=$2 ;;
  esac
}

# own_url NAME: print the address of a repository that is named alone: the token file's username is its owner.
own_url() {
  owner=$(token_file | awk '$3 != "" { print $1 "/" $3; exit }')
  [ -n "$owner" ] || fail "whose '$1'? Give it as owner/$1, or put \"username\" into the token file"
  printf '%s\n' "$(site_of "${owner%%/*}")/${owner#*/}/$1.git"
}

# want_folder FOLDER EXTRAS: ask for what a folder holds.
want_folder() {
  folder=$(absolute "$1")
  [ -d "$folder" ] || fail "the folder '$1' does not exist; correct it, or sync it first"
  printf '%s\n' "$folder${2:+[$2]}" >>"$private/wanted"
}

# want_in_place FOLDER EXTRAS: ask for a folder to be installed in place, unless it is and did not move.
want_in_place() {
  folder=$(absolute "$1")
  [ -d "$folder" ] || fail "the folder '$1' does not exist; correct it, or sync it first"
  if [ -n "${again-}${moved-}" ] || [ "$(installed "file://$folder" '')" != in-place ]; then
    printf -- '-e "%s"\n' "$folder${2:+[$2]}" >>"$private/wanted"
  fi
}

# want_file OPTION FILE: ask for what a requirements file (-r) has, or have a constraints file (-c) hold.
want_file() {
  file=$(absolute "$2")
  [ -f "$file" ] || fail "the file '$2' of $1 does not exist; correct it, or sync it first"
  printf '%s "%s"\n' "$1" "$file" >>"$private/wanted"
}

# check_out URL REF FOLDER: make FOLDER a clone at what REF is now, without losing a change in it; set $moved if it moved.
check_out() {
  resolve "$1" "$2"
  folder=$(expand_path "$3") moved=yes
  if [ ! -e "$folder/.git" ]; then
    git clone --quiet ${depth:+--depth "$depth"} --recurse-submodules ${branch:+--branch "$branch"} "$1" "$folder" ||
      fail "$1 could not be cloned into '$3'; what git says stands above"
    [ -n "$branch" ] || git -C "$folder" checkout --quiet --recurse-submodules "$commit"
  elif [ "$(git -C "$folder" rev-parse HEAD)" = "$commit" ]; then
    moved=
  else
    [ -z "$(git -C "$folder" status --porcelain --untracked-files=no)" ] ||
      fail "'$3' has changes that are not committed, so it was not moved; commit or stash them"
    git -C "$folder" fetch --quiet --tags origin
    git -C "$folder" checkout --quiet "${branch:-$commit}"
    git -C "$folder" merge --quiet --ff-only "$commit" ||
      fail "'$3' has commits of its own, so it was not moved to those of $1; push them, or clone elsewhere"
    git -C "$folder" submodule update --quiet --init --recursive
  fi
}

# finish_clone: bring the LFS files of what was checked out, and say where it stands.
finish_clone() {
  if git -C "$folder" lfs version >/dev/null 2>&1; then
    git -C "$folder" lfs install --local --skip-repo >/dev/null
    git -C "$folder" lfs pull
  fi
  moved=${moved:+at }
  say "${moved:-up to date, }$(git -C "$folder" rev-parse --short HEAD)"
}

# install_wanted [OPTION...]: install all that was asked for at once; the options are pip's.
install_wanted() {
  if ! grep -qv '^-c' "$private/wanted"; then
    say 'up to date'
    return 0
  fi
  pip "$@" -r "$private/wanted"
  # pip leaves a package alone whose version is the one it has, whatever commit it was built from.
  while read -r url && read -r subdirectory && read -r commit && read -r asked; do
    case $(installed "$url" "$subdirectory") in
      "$commit"*) ;;
      *) pip --force-reinstall --no-deps "$asked" </dev/null ;;
    esac
  done <"$private/repositories"
  say installed
}

# pip ARGUMENT...: as pip install's.
pip() {
  "$PYTHON" -m pip install --no-input --disable-pip-version-check --no-color --root-user-action=ignore "$@"
}

# project_name REQUIREMENT: print what it is called: extras need that, and only its metadata knows it.
project_name() {
  pip --quiet --dry-run --no-deps --ignore-installed --report "$private/report" "$1" >&2
  "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["name"])' <"$private/report"
}

# installed URL SUBDIRECTORY: print the commit that the package of a repository was installed from; in-place for a folder.
installed() {
  "$PYTHON" -I - "$@" <<'END_OF_PYTHON'
import json, re, sys
from importlib import metadata
from urllib.parse import unquote


def canonical(url):
    return re.sub(r"^(git\+)?\w+://([^/@]*@)?|(\.git)?/*$", "", unquote(url).lower())


for found in metadata.distributions():
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if canonical(origin.get("url", "")) == canonical(sys.argv[1]) and origin.get("subdirectory", "") == sys.argv[2]:
        print("in-place" if origin.get("dir_info", {}).get("editable") else origin.get("vcs_info", {}).get("commit_id"))
        break
END_OF_PYTHON
}
