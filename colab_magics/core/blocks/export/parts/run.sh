# Commands of the block, and what they find in their environment.
# shellcheck shell=sh disable=SC2154,SC2034

# run FOLDER COMMAND...: run a command in a folder ('' is this one), with the environment that this script was given.
run() {
  folder=$(expand_path "$1")
  [ -d "${folder:-.}" ] || fail "the folder '$1' does not exist; make it in an earlier step"
  shift
  status=0
  (
    # As parameters, since the environment may have variables of any name.
    set -- "$PATH" "${folder:-.}" "$@"
    unset LC_ALL
    eval "$colab_magics_environment" 2>/dev/null || :
    export PATH="$1" PYTHONUNBUFFERED=1
    cd "$2" || exit 1
    shift 2
    exec "$@"
  ) </dev/null || status=$?
  case $status in
    0) say 'done' ;;
    127) fail "the command '$1' was not found; install it or correct its name" ;;
    *) fail "$1 failed with status $status" ;;
  esac
}

# run_shell FOLDER TEXT: run a text that needs a shell.
run_shell() {
  if [ -x /bin/bash ]; then
    run "$1" /bin/bash -c "$2"
  else
    run "$1" /bin/sh -c "$2"
  fi
}

# set_variable NAME VALUE [shown]: tell all commands from here on, and with `shown` every other program too.
set_variable() {
  quoted=$(printf '%s.' "$2" | sed "s/'/'\\\\''/g")
  colab_magics_environment="$colab_magics_environment
export $1='${quoted%.}'"
  case ${3-}$1 in
    shown[a-z]*) ;; # a name that this script may use itself
    shown*) eval "$1=\$2 && export $1" ;;
  esac
}

# apt_install PACKAGE... [--no-install-recommends]: install what dpkg does not have, and never ask.
apt_install() {
  missing=
  for name in "$@"; do
    case $name in
      --*) continue ;;
    esac
    have=$(dpkg-query -W -f '${db:Status-Abbrev}=${Version}' "${name%%[=/]*}" 2>/dev/null) || have=
    case $name,$have in
      *=*,[ih]i*) [ "${have#*=}" = "${name#*=}" ] || missing=yes ;;
      *,[ih]i*) ;;
      *) missing=yes ;;
    esac
  done
  if [ -z "$missing" ]; then
    say 'up to date'
    return 0
  fi
  apt -q install "$@" || { apt -q update && apt -q install "$@"; } || fail "apt could not install what is missing; what it says stands above"
  say installed
}

# apt ARGUMENT...: with sudo where it is needed.
apt() {
  set -- env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -y -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 "$@"
  if [ "$(id -u)" = 0 ]; then
    "$@" </dev/null
  else
    sudo -n "$@" </dev/null
  fi
}
