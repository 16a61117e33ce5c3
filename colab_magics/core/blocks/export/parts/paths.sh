# Where things lie on this machine, as colab_magics.core.layout says it.
# shellcheck shell=sh disable=SC2154,SC2034

# home_path PATH: print it with a leading ~ resolved.
home_path() {
  case $1 in
    \~) printf '%s\n' "$HOME" ;;
    \~/*) printf '%s\n' "$HOME/${1#??}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# absolute PATH: print it from the root on, with . and .. resolved by the text alone.
absolute() (
  case $1 in
    /*) rest=$1 ;;
    *) rest=$PWD/$1 ;;
  esac
  result=
  while [ -n "$rest" ]; do
    part=${rest%%/*}
    case $rest in
      */*) rest=${rest#*/} ;;
      *) rest= ;;
    esac
    case $part in
      '' | .) ;;
      ..) result=${result%/*} ;;
      *) result=$result/$part ;;
    esac
  done
  printf '%s\n' "${result:-/}"
)

# real PATH: print where it is once the symlinks on the way (and at its end) are followed.
real() (
  path=$(absolute "$1")
  hops=0
  while [ -L "$path" ] && [ ! -d "$path" ]; do
    hops=$((hops + 1))
    [ "$hops" -lt 40 ] || fail "$1 is a symlink that leads in circles"
    target=$(readlink "$path")
    case $target in
      /*) path=$(absolute "$target") ;;
      *) path=$(absolute "${path%/*}/$target") ;;
    esac
  done
  if [ -d "$path" ]; then
    cd -P "$path" && pwd -P
  elif [ -d "${path%/*}/" ]; then
    top=$(cd -P "${path%/*}/" && pwd -P)
    printf '%s\n' "${top%/}/${path##*/}"
  else
    printf '%s\n' "$path"
  fi
)

# Print the drive's root, or say that there is none.
drive_root() {
  if [ -n "${COLAB_MAGICS_DRIVE_ROOT-}" ]; then
    root=$(home_path "$COLAB_MAGICS_DRIVE_ROOT")
    [ -d "$root" ] || fail "the drive folder '$root' does not exist; correct COLAB_MAGICS_DRIVE_ROOT, or make the folder"
    printf '%s\n' "$root"
  elif [ "$place" != colab ]; then
    fail "there is no Google Drive on $place; set COLAB_MAGICS_DRIVE_ROOT to the folder to use as the drive"
  elif [ -d "${mounted:-/content/drive}/MyDrive" ]; then
    printf '%s\n' "${mounted:-/content/drive}/MyDrive"
  else
    fail 'Google Drive is not mounted, and only a notebook can mount it: run %mount_drive there, or set COLAB_MAGICS_DRIVE_ROOT'
  fi
}

# expand_path PATH: print it with drive: and ~ resolved.
expand_path() {
  case $1 in
    drive:*)
      root=$(drive_root) || exit 1
      below=${1#drive:}
      depth=0
      rest=$below/
      while [ -n "$rest" ]; do
        case ${rest%%/*} in
          '' | .) ;;
          ..) depth=$((depth - 1)) ;;
          *) depth=$((depth + 1)) ;;
        esac
        [ "$depth" -ge 0 ] || fail "'$1' leaves the drive; give a path under drive:"
        rest=${rest#*/}
      done
      below=$(absolute "/$below") || exit 1
      below=${below#/}
      printf '%s\n' "${root%/}${below:+/$below}"
      ;;
    *) home_path "$1" ;;
  esac
}

# free_name PATH: print it, or the first of PATH.~1~, PATH.~2~, ... at which nothing stands.
free_name() (
  candidate=$1
  number=0
  while [ -e "$candidate" ] || [ -L "$candidate" ]; do
    number=$((number + 1))
    candidate=$1.~$number~
  done
  printf '%s\n' "$candidate"
)

# mount_drive MOUNTPOINT
mount_drive() {
  mounted=$(home_path "$1")
  root=$(drive_root)
  say "line $line: mount_drive: $root"
}
