# What every script begins and ends with. The variables that no function sets come from the script's first lines.
# shellcheck shell=sh disable=SC2154,SC2034

# say MESSAGE: tell what was done.
say() {
  printf '%s\n' "$*"
}

# fail MESSAGE: end the step that runs; `finish` adds its line.
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Whatever ends the script, this runs last.
finish() {
  status=$?
  trap - EXIT
  [ -z "$held" ] || rm -f "$held"
  for folder in "$work" "$private"; do
    if [ -n "$folder" ] && [ -d "$folder" ]; then
      chmod -R u+rwX "$folder" && rm -rf "$folder"
    fi
  done
  if [ "$status" -ne 0 ] && [ -n "$verb" ] && [ -z "$interrupted" ]; then
    printf 'line %s: %s failed\n' "$line" "$verb" >&2
    status=1
  fi
  exit "$status"
}

# Of two runs of this script in one folder at once the second waits. The lock names the process that holds it, so that
# of one that was killed is taken over.
hold() {
  lock=${TMPDIR:-/tmp}/colab_magics-$(printf '%s' "${0##*/} $PWD" | cksum | tr ' ' '-').lock
  waiting=
  until ln -s "$$" "$lock" 2>/dev/null; do
    holder=$(readlink "$lock") || continue
    if kill -0 "$holder" 2>/dev/null; then
      [ -n "$waiting" ] || say "waiting for process $holder, which runs this script in this folder too"
      waiting=yes
      sleep 1
    else
      rm "$lock"
    fi
  done
  held=$lock
}

# interrupt STATUS: a signal came.
interrupt() {
  interrupted=yes
  exit "$1"
}

# withhold NAME...: keep these variables here, and out of the environment of every program.
withhold() {
  for name in "$@"; do
    if eval "[ -n \"\${$name+set}\" ]"; then
      eval "value=\$$name"
      unset "$name"
      eval "$name=\$value"
    fi
  done
  unset value
}

# Withhold every COLAB_MAGICS_SECRET_... too, and free the small names for this script's own variables: one that is
# exported would show what it holds to every program. Only the shell's own commands here, for the same reason.
clean_environment() {
  set -f
  IFS='
'
  for entry in $colab_magics_environment; do
    name=${entry%%=*}
    case $name in
      'export '* | 'declare -'*) name=${name##* } ;;
      *) continue ;;
    esac
    case $name in
      *[!A-Za-z0-9_]* | [0-9]* | '' | _ | *_proxy | colab_magics_environment) ;;
      COLAB_MAGICS_SECRET_*) withheld="$withheld$name
" ;;
      [a-z]*) unset "$name" ;;
    esac
  done
  for entry in $withheld; do
    withhold "$entry"
  done
  unset IFS
  set +f
  unset entry
}

# Print the name of the place that this runs in.
detect() {
  if [ -n "${COLAB_MAGICS_ENV-}" ]; then
    printf '%s\n' "$COLAB_MAGICS_ENV"
  elif [ -n "${KAGGLE_KERNEL_RUN_TYPE-}" ]; then
    echo kaggle
  elif [ -n "${COLAB_RELEASE_TAG-}" ]; then
    echo colab
  elif [ -n "${DATABRICKS_RUNTIME_VERSION-}" ]; then
    echo databricks
  elif [ -n "${PAPERSPACE_NOTEBOOK_REPO_ID-}" ]; then
    echo paperspace
  elif [ -d /home/sagemaker-user ] || [ -d /home/studio-lab-user ]; then
    echo sagemaker
  else
    case $(uname -s) in
      Darwin) echo macos ;;
      MINGW* | MSYS* | CYGWIN*) echo windows ;;
      *) echo linux ;;
    esac
  fi
}

# is_on ENV,ENV: whether this is one of these places; an empty list means anywhere.
is_on() {
  case ",${1:-$place}," in
    *",$place,"*) return 0 ;;
  esac
  return 1
}

# step LINE VERB [ENV,ENV]: begin a step, unless it is for another place.
step() {
  if is_on "${3-}"; then
    line=$1 verb=$2
    return 0
  fi
  say "line $1: $2: skipped, only on $3, this is $place"
  return 1
}

# need LINE ENVS PROGRAM...: one of these programs must be there.
need() {
  where=$1 places=$2
  shift 2
  if is_on "$places"; then
    for program in "$@"; do
      if command -v "$program" >/dev/null 2>&1; then
        return 0
      fi
    done
    complain "line $where: needs $(printf '%s\n' "$*" | sed 's/ / or /g'); install it first"
  fi
}

# need_pip LINE ENVS: Python must have pip.
need_pip() {
  need "$1" "$2" "$PYTHON"
  if is_on "$2" && command -v "$PYTHON" >/dev/null 2>&1 && ! "$PYTHON" -c 'import pip' 2>/dev/null; then
    complain "line $1: $PYTHON has no pip; run: $PYTHON -m ensurepip"
  fi
}

# need_variable LINE NAME VARIABLE: a variable of the block must be set; here it is called VARIABLE.
need_variable() {
  if ! eval "[ -n \"\${$3+set}\" ]"; then
    complain "line $1: unknown variable \$$2; set it in the environment"
  fi
}

# need_plain LINE NAME VALUE: a value must not be taken for an option.
need_plain() {
  case $3 in
    -*) complain "line $1: the value of \$$2 begins with -, so it would be taken for an option" ;;
  esac
}

# Dropbox links grant access, so what they are fetched from must be https or this machine.
need_dropbox_url() {
  case ${COLAB_MAGICS_DROPBOX_URL:-https://} in
    https://* | http://127.0.0.1[:/]* | http://127.0.0.1 | http://localhost[:/]* | http://localhost | 'http://[::1]'*) ;;
    *) complain 'COLAB_MAGICS_DROPBOX_URL must be an https:// address (http:// only on this machine)' ;;
  esac
}

# complain MESSAGE: something is wrong before anything has run.
complain() {
  printf '%s\n' "$*" >&2
  wrong=yes
}
