# Make a folder hold what a share link holds.
# shellcheck shell=sh disable=SC2154,SC2034

# dropbox_sync [OPTIONS] LINK [DEST]. DEST/.colab_magics/script/ keeps a record of each link that was synced completely:
# `checksum size ./name` for each file that was written, `- - ./name` for all that must be there.
dropbox_sync() {
  mirror='' #: --mirror
  once='' force='' unpack='' digest='' password='' take='' leave=''
  while :; do
    case $1 in
      --once) once=yes ;;
      --mirror) mirror=yes ;; #: --mirror
      --force) force=yes ;; #: --force
      --unpack) unpack=yes ;; #: --unpack
      --sha256) digest=$2 && shift ;; #: --sha256
      --password) password=$2 && shift ;; #: --password
      --include) take="$take${take:+|}$2" && shift ;; #: --include
      --exclude) leave="$leave${leave:+|}$2" && shift ;; #: --exclude
      *) break ;;
    esac
    shift
  done
  read_link "$1"
  dest=$(expand_path "${2-}")
  id=$(printf '%s\n' "$link_id" "$dest" "$take" "$leave" "$unpack" "$digest" | cksum | tr ' ' -)
  if [ -n "$once" ] && [ -z "$force" ] && is_complete; then
    say 'up to date'
    return 0
  fi
  open_work
  fetch "$work/download"
  check_digest "$work/download" #: --sha256
  prepare
  if [ -d "$root" ]; then
    merge
  else
    # A new folder appears whole, in one move.
    sums "$work/tree" >"$work/new"
    mkdir -p "$work/tree/.colab_magics/script"
    sed 's/^/- - /' "$work/names" | cat "$work/new" - >"$work/tree/.colab_magics/script/$id-$kind"
    [ ! -e "$root" ] || fail "something was put at $root meanwhile; run it again"
    mv "$work/tree" "$root"
    say "$(($(wc -l <"$work/new"))) added"
  fi
  rm -rf "$work"
  rmdir "${work%/*}" 2>/dev/null || :
  work=
}

# Whether a sync of this link was complete, and all that it held is still there.
is_complete() {
  if [ -n "$dest" ]; then
    set -- "$dest" "$(dirname "$dest")"
  else
    set -- . ./*/
  fi
  for folder in "$@"; do
    for record in "$folder/.colab_magics/script/$id"-f*; do
      [ -f "$record" ] || continue
      while IFS= read -r entry; do
        [ -e "$folder/${entry#* * }" ] || [ -L "$folder/${entry#* * }" ] || return 1
      done <"$record"
      return 0
    done
  done
  return 1
}

# Make the folder $work that a sync prepares everything in: on DEST's own disk, so that a move is one instant. $near is
# DEST if it is there, else the folder that it will be in.
open_work() {
  mkdir -p "$(dirname "${dest:-x}")"
  near=$(readlink -f "$(dirname "${dest:-x}")")
  [ ! -d "$dest" ] || near=$(readlink -f "$dest")
  # What a run that died has left behind; one that still runs has its process.
  for work in "$near"/.colab_magics/work.*; do
    [ ! -d "$work" ] || kill -0 "${work##*.}" 2>/dev/null || rm -rf "$work"
  done
  work=$near/.colab_magics/work.$$
  mkdir -p "$work"
}

# Set $kind (file or folder) and $root, the folder that it goes into, and put into $work/tree what shall be there.
prepare() {
  kind='file' name=$(basename "${dest:-x}") root=$near
  case $link_kind:${answer_name##*.}:${dest##*.}:$address in
    folder:*/cd/*/get/* | url:[zZ][iI][pP]:[zZ][iI][pP]:*) ;;
    folder:* | url:[zZ][iI][pP]:*) kind=folder ;;
  esac
  [ -z "$unpack" ] || kind=folder #: --unpack
  mkdir "$work/tree"
  if [ "$kind" = folder ]; then
    [ -n "$dest" ] || name=$(printf '%s\n' "$answer_name" | sed -E 's/(\.tar)?\.(zip|ZIP|tar|tgz|txz|tbz2|tzst|gz|xz|bz2|zst)$//')
    [ -d "$dest" ] || root=$near/$name
    unpack "$work/download" "$work/tree"
    rm -rf "$work/tree"/.[cC][oO][lL][aA][bB]_[mM][aA][gG][iI][cC][sS]
  else
    if [ -z "$dest" ] || [ -d "$dest" ]; then
      name=$answer_name
    elif [ "$dest" != "${dest%/}" ]; then
      root=$near/$name name=$answer_name
    fi
    mv "$work/download" "$work/tree/$name"
  fi
  if [ ! -d "$root" ] && { [ -e "$root" ] || [ -L "$root" ]; }; then
    fail "'$dest' is a file, or a symlink that leads nowhere; choose another place for the folder, or move it away"
  fi
  root=$(readlink -f "$root")
  (cd "$work/tree" && find . ! -name .) | sort >"$work/held"
  select_members #: --include --exclude
  (cd "$work/tree" && find . ! -name .) >"$work/names"
}

# sums FOLDER: print the checksum, size and name of each file in it.
sums() {
  (cd "$1" && find . -type f -exec cksum {} +) | sort
}

# check_digest FILE: it must have the SHA-256 of --sha256.
check_digest() {
  [ -n "$digest" ] || return 0
  [ "$link_kind" != folder ] || fail "--sha256 is for a link to one file; Dropbox makes a folder's zip anew each time"
  { sha256sum <"$1" 2>/dev/null || shasum -a 256 <"$1"; } | grep -iq "^$digest " ||
    fail "what the link sent has another SHA-256; nothing was written: check the digest, or who changed the file"
}

# unpack FILE INTO: unpack a zip or a tar into the folder INTO; nothing is written outside of it.
unpack() {
  if is_zip "$1"; then
    # unzip says 1 when all is there but something was odd.
    read_zip list "$1" >"$private/names" 2>/dev/null || [ "$?" -eq 1 ] || fail "what the link sent is no whole zip; run it again to fetch it anew"
  elif ! tar -tf "$1" >"$private/names" 2>/dev/null; then #: --unpack
    fail "what the link sent is no whole archive of a kind that can be unpacked here; run it again" #: --unpack
  elif [ -z "$unpack" ]; then
    fail "the link did not answer with a zip; open it in a browser and run it again"
  fi
  if grep -Eq '^/.|(^|/)\.\.(/|$)|\^J' "$private/names"; then
    fail "the archive has a member that would be written outside the folder, or with a line break in its name; nothing was written"
  elif ! is_zip "$1"; then #: --unpack
    tar -xof "$1" -C "$2" || fail "what the link sent is no whole archive; run it again to fetch it anew" #: --unpack
  elif grep -qvx / "$private/names"; then
    read_zip unpack "$1" "$2" >/dev/null 2>&1 || [ "$?" -eq 1 ] || fail "what the link sent is no whole zip without a password; run it again to fetch it anew"
  fi
  (
    cd -P "$2" || exit 1
    chmod -R u+rwX .
    find . -type d -exec chmod =rwx {} +
    # Dropbox gives each entry of a folder's zip mode 0744: that says nothing about running it.
    [ "$link_kind" = folder ] || find . -type f -perm -100 -exec chmod =rwx {} +
    [ "$link_kind" != folder ] || find . -type f -exec chmod =rw {} +
    find . -type f ! -perm -100 -exec chmod =rw {} +
    ! find . ! -type f ! -type d ! -type l -o -name '*
*' | grep -q . || fail "the archive has a device, a pipe, or a line break in a name; nothing was written"
    find . -type l | while IFS= read -r name; do
      case $(readlink -f "$name") in
        "$PWD"/*) ;;
        *) fail "the archive's symlink '$name' points outside the folder, or nowhere; nothing was written" ;;
      esac
    done
  ) || exit 1
}

# read_zip list FILE, read_zip unpack FILE INTO: with unzip, else with Python. Dropbox's first entry is /: unzip fails
# for it.
read_zip() {
  if command -v unzip >/dev/null 2>&1; then
    case $1 in
      list) LC_ALL=C.UTF-8 unzip -Z1 "$2" ;;
      *) LC_ALL=C.UTF-8 unzip -q -o "$2" -x / -d "$3" </dev/null ;;
    esac
  else
    "$PYTHON" -I - "$@" <<'END_OF_PYTHON' || return 2
import os, sys, time, zipfile

with zipfile.ZipFile(sys.argv[2]) as archive:
    for info in archive.infolist():
        if sys.argv[1] == "list":
            print(info.filename)
        elif info.filename != "/":
            path = archive.extract(info, sys.argv[3])
            os.chmod(path, 0o755 if info.is_dir() or info.external_attr >> 16 & 0o100 else 0o644)
            changed = time.mktime((*info.date_time, 0, 0, -1))
            os.utime(path, (changed, changed))
END_OF_PYTHON
  fi
}

# Leave out what --include and --exclude do not want.
select_members() {
  sort -r "$work/held" | {
    if [ -n "$take" ]; then
      LC_ALL=C.UTF-8 grep -E -e "$take" || :
    else
      cat
    fi
  } | LC_ALL=C.UTF-8 grep -Ev -e "${leave:-^$}" | sort >"$work/chosen"
  comm -23 "$work/held" "$work/chosen" | sort -r | while IFS= read -r name; do
    # A folder stays for what was chosen in it.
    rm -f "$work/tree/$name" 2>/dev/null || rmdir "$work/tree/$name" 2>/dev/null || :
  done
}

# An existing folder changes file by file; whatever ends it among them, the next run completes it.
merge() {
  records=$root/.colab_magics/script removed=0 below=''
  mkdir -p "$records"
  cat "$records"/* 2>/dev/null | sort -u >"$work/ours"
  for name in add both clear leave; do
    : >"$work/$name"
  done
  while IFS= read -r name; do
    new=$work/tree/$name old=$root/$name
    case $name in
      "$below"/*) continue ;;
    esac
    if [ -L "$old" ]; then
      list=leave # a symlink here is this machine's layout: nothing is written through it
    elif [ ! -e "$old" ]; then
      list=add
    elif [ -d "$new" ] && [ ! -L "$new" ] && [ -d "$old" ]; then
      continue
    elif [ -n "$once" ]; then
      list=leave
    elif [ -f "$new" ] && [ ! -L "$new" ] && [ -f "$old" ]; then
      list=both
    else
      list=clear
    fi
    printf '%s\n' "$name" >>"$work/$list"
    below=$name
  done <"$work/names"
  files=$(find "$work/tree" -type f | wc -l)
  (cd "$work/tree" && tr '\n' '\000' <"$work/leave" | xargs -0 -r rm -rf)
  sums "$work/tree" >"$work/new"
  (cd "$root" && tr '\n' '\000' <"$work/both" | xargs -0 -r cksum) | sort >"$work/old"
  comm -13 "$work/new" "$work/old" >"$work/replace"
  # From here on the folder changes. What will be ours is recorded first, so that a run which dies here does not leave
  # files that nobody remembers.
  {
    comm -23 "$work/new" "$work/old"
    comm -12 "$work/new" "$work/ours"
    cat "$records/$id"-* "$records/begun-$id"-* 2>/dev/null | no_longer_held
  } >"$work/written"
  cat "$work/written" "$records/$id"-* "$records/begun-$id"-* >"$work/begun" 2>/dev/null || :
  mv -f "$work/begun" "$records/begun-$id-$kind"
  rm -f "$records/$id-$kind"
  while IFS= read -r name; do
    set_aside "$name"
  done <"$work/clear"
  [ -z "$mirror" ] || remove_the_rest #: --mirror
  cat "$work/clear" "$work/add" | while IFS= read -r name; do
    mv -f "$work/tree/$name" "$root/$name"
  done
  while IFS= read -r entry; do
    name=${entry#* * }
    chmod "$(stat -c %a "$root/$name" 2>/dev/null || stat -f %Lp "$root/$name")" "$work/tree/$name"
    grep -Fxq -e "$entry" "$work/ours" || set_aside "$name"
    mv -f "$work/tree/$name" "$root/$name"
  done <"$work/replace"
  sed 's/^/- - /' "$work/names" | cat "$work/written" - | while IFS= read -r entry; do
    name=${entry#* * }
    [ ! -e "$root/$name" ] && [ ! -L "$root/$name" ] || printf '%s\n' "$entry"
  done >"$work/record"
  mv -f "$work/record" "$records/$id-$kind"
  rm -f "$records/begun-$id-$kind"
  added=$(($(wc -l <"$work/new") - $(wc -l <"$work/both"))) updated=$(($(wc -l <"$work/replace")))
  if [ -s "$work/clear" ] || [ -s "$work/add" ] || [ "$updated$removed" != 00 ]; then
    say "$added added, $updated updated, $((files - added - updated)) unchanged, $removed removed"
  else
    say 'up to date'
  fi
}

# Print of lines of records those whose names the link no longer holds.
no_longer_held() {
  awk 'FILENAME != "-" { held[$0]; next } { name = $0; sub(/^[^ ]* [^ ]* /, "", name) } !(name in held)' "$work/held" -
}

# set_aside NAME: move it to the backups.
set_aside() {
  keep_as "$root/$1" "$root/.colab_magics/backup/${1#./}"
}

# For --mirror: remove what syncs wrote and the link no longer holds, a folder after what is in it.
remove_the_rest() {
  [ "$kind" = folder ] || return 0
  cat "$records"/*-folder | no_longer_held | sort -r -k 3 >"$work/gone"
  while IFS= read -r entry; do
    name=${entry#* * } above=${entry#* * .} above=${above%/*}
    if [ -L "$root/$name" ] || [ "$(readlink -f "$root$above")" != "$root$above" ]; then
      continue # beyond a symlink: this machine's layout
    elif [ -d "$root/$name" ]; then
      rmdir "$root/$name" 2>/dev/null || :
    elif [ -f "$root/$name" ] && [ "${entry#- }" = "$entry" ]; then
      if (cd "$root" && cksum "$name") | grep -Fxq -f "$work/ours"; then
        rm -f "$root/$name"
      else
        set_aside "$name"
      fi
      removed=$((removed + 1))
    fi
  done <"$work/gone"
  for record in "$records"/*-folder; do
    [ "$record" = "$records/begun-$id-folder" ] || rm -f "$record"
  done
}
