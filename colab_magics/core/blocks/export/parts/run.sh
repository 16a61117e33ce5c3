# Commands of the block.
# shellcheck shell=sh disable=SC2154,SC2034

# run FOLDER COMMAND...: run a command in a folder ('' is this one), with the environment that this script was given.
run() {
  folder=
  if [ -n "$1" ]; then
    folder=$(expand_path "$1")
    [ -d "$folder" ] || fail "the folder '$1' does not exist; make it in an earlier step"
  fi
  shift
  status=0
  (
    # As parameters, since the environment may have variables of any name.
    set -- "$PATH" "$folder" "$@"
    eval "$colab_magics_environment" 2>/dev/null || :
    PATH=$1 PYTHONUNBUFFERED=1
    export PATH PYTHONUNBUFFERED
    if [ -n "$2" ]; then
      cd "$2" || exit 1
    fi
    shift 2
    exec "$@"
  ) </dev/null || status=$?
  case $status in
    0) say "line $line: run: done" ;;
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
