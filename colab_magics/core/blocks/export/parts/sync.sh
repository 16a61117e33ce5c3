# Make a folder hold what a share link holds. What a sync knows lies in DEST/.colab_magics/script/: `wrote` and `known`
# (checksum, size and name of files that syncs wrote, and of those that were there), `folders`, and a `done-...` file
# for each link that was synced completely, with the names that it held.
# shellcheck shell=sh disable=SC2154,SC2034

# dropbox_sync [OPTIONS] LINK [DEST]
dropbox_sync() {
  once='' mirror='' force='' unpack='' digest='' password='' take='' leave=''
  while :; do
    case $1 in
      --once) once=yes ;;
      --mirror) mirror=yes ;;
      --force) force=yes ;;
      --unpack) unpack=yes ;;
      --sha256)
        digest=$(printf '%s' "$2" | tr '[:upper:]' '[:lower:]')
        case $digest in
          *[!0-9a-f]*) fail "--sha256 takes 64 hexadecimal digits" ;;
        esac
        [ "${#digest}" -eq 64 ] || fail "--sha256 takes 64 hexadecimal digits"
        shift
        ;;
      --password) password=$2 && shift ;;
      # Patterns as `grep -E` reads them, one a line.
      --include) take="$take${take:+
}$2" && shift ;;
      --exclude) leave="$leave${leave:+
}$2" && shift ;;
      *) break ;;
    esac
    shift
  done
  read_link "$1"
  typed=
  if [ -n "${2-}" ]; then
    typed=$(expand_path "$2")
    case $2 in
      */) typed=${typed%/}/ ;;
    esac
  fi
  id=$(printf '%s\n' "$link_known" "$take" "$leave" "$unpack" "$digest" | cksum | tr ' ' -)
  if [ -n "$once" ] && [ -z "$force" ] && done_before; then
    say "line $line: dropbox_sync: up to date"
    return 0
  fi
  open_work
  fetch "$work/download"
  find_place
  if [ -n "$digest" ]; then
    [ -z "$answer_is_folder" ] || fail "--sha256 is for a link to one file; Dropbox makes a folder's zip anew each time"
    [ "$(digest_of "$work/download")" = "$digest" ] || fail "what $link_shown sent has another SHA-256; nothing was written: check the digest, or who changed the file"
  fi
  if [ -n "$one_file" ]; then
    mkdir "$work/tree"
    mv "$work/download" "$work/tree/$one_file"
    (cd "$work/tree" && find . ! -name .) >"$work/held"
  else
    if [ "$link_kind" = folder ] && ! is_zip "$work/download"; then
      fail "$link_shown did not answer with a zip of its folder; open it in a browser and run it again"
    fi
    unpack "$work/download" "$work/tree"
    rm -f "$work/download"
    rm -rf "$work/tree"/.[cC][oO][lL][aA][bB]_[mM][aA][gG][iI][cC][sS]
    (cd "$work/tree" && find . ! -name .) >"$work/held"
    choose
  fi
  if [ -d "$root" ]; then
    merge
  else
    appear
  fi
  rm -rf "$work"
  work=
}

# Whether a sync of this link was complete, and all that it held is still there.
done_before() {
  if [ -n "$typed" ]; then
    path=$(absolute "$typed")
    set -- "$path" "${path%/*}"
  else
    set -- . ./*/
  fi
  for folder in "$@"; do
    marker=$folder/.colab_magics/script/done-$id
    if [ -f "$marker" ]; then
      whole=yes
      {
        IFS= read -r only
        case $only in
          '') [ -z "$typed" ] || [ "$folder" = "$path" ] || whole= ;;
          *) [ -z "$typed" ] || [ "$folder" = "$path" ] || [ "$folder/$only" = "$path" ] || whole= ;;
        esac
        while IFS= read -r name; do
          if [ ! -e "$folder/$name" ] && [ ! -L "$folder/$name" ]; then
            whole=
          fi
        done
      } <"$marker"
      if [ -n "$whole" ]; then
        return 0
      fi
    fi
  done
  return 1
}

# Make the folder $work that the sync prepares everything in: on DEST's own disk, so that a move is one instant.
open_work() {
  case $typed in
    '') near=$PWD/.colab_magics-work ;;
    *)
      root=$(real "$typed")
      if [ -d "$root" ]; then
        mkdir -p "$root/.colab_magics"
        near=$root/.colab_magics/work
      else
        mkdir -p "${root%/*}/"
        root=$(real "$typed")
        near=${root%/*}/.${root##*/}.colab_magics-work
      fi
      ;;
  esac
  # What a run that died has left behind; one that still runs has its process.
  for stale in "$near".[0-9]*; do
    if [ -d "$stale" ] && ! kill -0 "${stale##*.}" 2>/dev/null; then
      rm -rf "$stale"
    fi
  done
  work=$near.$$
  mkdir "$work"
}

# Decide where it goes: $root is the folder; $one_file the name in it when the link is one file.
find_place() {
  one_file=
  case $link_kind in
    file) one_file=yes ;;
    folder) [ -n "$answer_is_folder" ] || one_file=yes ;;
    *)
      name=$link_name
      case $name in
        *.*) ;;
        *) name=$answer_name ;;
      esac
      case $name:$typed in
        *.[zZ][iI][pP]:*.[zZ][iI][pP]) one_file=yes ;;
        *.[zZ][iI][pP]:*) ;;
        *) one_file=yes ;;
      esac
      ;;
  esac
  if [ -n "$unpack" ]; then
    one_file=
  fi
  if [ -z "$one_file" ]; then
    if [ -z "$typed" ]; then
      typed=$(printf '%s\n' "$answer_name" | sed -E 's/(\.tar)?\.(zip|ZIP|tar|tgz|txz|tbz2|tzst|gz|xz|bz2|zst)$//')
      typed=./${typed:-download}
    fi
    root=$(real "$typed")
    if [ -e "$root" ] && [ ! -d "$root" ]; then
      fail "'${typed#./}' is a file; choose another place for the folder, or move it away"
    fi
    return 0
  fi
  one_file=${answer_name:-download}
  case $typed in
    '') path=$PWD/$one_file ;;
    *)
      path=$(absolute "$typed")
      if [ -d "$path" ] || [ "$typed" != "${typed%/}" ]; then
        one_file=${link_name:-$one_file}
        path=$path/$one_file
      fi
      ;;
  esac
  one_file=${path##*/}
  mkdir -p "${path%/*}/"
  root=$(real "${path%/*}/")
}

# Leave out what --include and --exclude do not want.
choose() {
  if [ -z "$take$leave" ]; then
    return 0
  fi
  (cd "$work/tree" && find . -depth ! -name .) >"$private/names"
  {
    [ -z "$take" ] || LC_ALL=C.UTF-8 grep -Ev -e "$take" "$private/names" || :
    [ -z "$leave" ] || LC_ALL=C.UTF-8 grep -E -e "$leave" "$private/names" || :
  } >"$private/drop"
  grep -Fx -f "$private/drop" "$private/names" | while IFS= read -r name; do
    if [ -d "$work/tree/$name" ] && [ ! -L "$work/tree/$name" ]; then
      rmdir "$work/tree/$name" 2>/dev/null || :
    else
      rm -f "$work/tree/$name"
    fi
  done
}
