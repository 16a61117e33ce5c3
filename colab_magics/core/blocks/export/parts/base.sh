# What every script begins and ends with. The variables that no function sets come from the script's first lines.
# shellcheck shell=sh disable=SC2154,SC2034

# say MESSAGE: tell what the step did.
say() {
  printf '%s\n' "line $line: $verb: $*"
}

# fail MESSAGE: end the step that runs; `finish` adds its line.
fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Whatever ends the script, this runs last: it removes what was for a while, and names the step that failed.
finish() {
  status=$?
  trap - EXIT
  chmod -R u+rwX ${work:+"$work"} "$private" 2>/dev/null || :
  rm -rf ${work:+"$work"} "$private" ${held:+"$held"}
  [ -z "$work" ] || rmdir "${work%/*}" 2>/dev/null || :
  case $status:$verb in
    0:* | 129:* | 130:* | 143:* | *:) ;;
    *) printf 'line %s: %s failed\n' "$line" "$verb" >&2 && status=1 ;;
  esac
  exit "$status"
}

# Of two runs of this script in one folder at once the second waits. The lock names the process that holds it: from one
# that was killed it is taken over.
hold() {
  lock=${TMPDIR:-/tmp}/colab_magics-$(printf '%s' "${0##*/} $PWD" | cksum | tr ' ' -).lock
  waiting=
  until ln -s "$$" "$lock" 2>/dev/null; do
    holder=$(readlink "$lock") || continue
    if ! kill -0 "$holder" 2>/dev/null; then
      rm -f "$lock"
    elif [ -z "$waiting" ]; then
      waiting=yes
      echo "waiting for process $holder, which runs this script in this folder too"
    else
      sleep 1
    fi
  done
  held=$lock
}

# withhold NAME...: keep these variables and every COLAB_MAGICS_SECRET_... here, out of the environment of all programs
# (so only the shell's own commands are used), and free the small names for this script's own variables.
withhold() {
  IFS='
'
  set -f
  for name in $colab_magics_environment; do
    name=${name%%=*} name=${name##* }
    case $name in
      *[!A-Za-z0-9_]* | '' | *_proxy | colab_magics_environment) ;;
      COLAB_MAGICS_SECRET_*) set -- "$@" "$name" ;;
      [a-z]*) unset "$name" ;;
    esac
  done
  set +f
  unset IFS
  for name in "$@"; do
    eval "[ -z \"\${$name+set}\" ] || { value=\$$name && unset $name && $name=\$value; }"
  done
  unset value name
}

# Print the name of the place that this runs in.
detect() {
  if [ -n "${COLAB_MAGICS_ENV-}" ]; then
    echo "$COLAB_MAGICS_ENV"
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
    uname -s | sed -e 's/Darwin/macos/' -e 's/^\(MINGW\|MSYS\|CYGWIN\).*/windows/' -e 's/Linux/linux/'
  fi
}

# is_on ENV,ENV: whether this is one of these places.
is_on() {
  case ",$1," in
    *",$(detect),"*) ;;
    *) return 1 ;;
  esac
}

# need LINE PROGRAM...: one of these programs must be there.
need() {
  where=$1
  shift
  for program in "$@"; do
    ! command -v "$program" >/dev/null 2>&1 || return 0
  done
  complain "line $where: needs $(printf '%s\n' "$*" | sed 's/ / or /g'); install it first"
}

# complain MESSAGE: something is wrong before anything has run.
complain() {
  printf '%s\n' "$*" >&2
  wrong=yes
}
