# From the folder $work/tree, which is proved, into $root. $work/held lists all that the link holds.
# shellcheck shell=sh disable=SC2154,SC2034

# A new folder appears whole, in one move.
appear() {
  state=$work/tree/.colab_magics/script
  (cd "$work/tree" && find . -type f -exec cksum {} +) >"$work/wrote"
  (cd "$work/tree" && find . -type d ! -name .) | LC_ALL=C sort >"$work/folders"
  (cd "$work/tree" && find . ! -name .) >"$work/names"
  : >"$work/known"
  remember
  [ ! -e "$root" ] || fail "something was put at $root meanwhile; run it again"
  mv "$work/tree" "$root"
  say "line $line: dropbox_sync: $(($(wc -l <"$work/wrote"))) added"
}

# Write what is known now to $state, each file whole.
remember() {
  mkdir -p "$state"
  {
    printf '%s\n' "$one_file"
    sed -n 's|^\./||p' "$work/names"
  } >"$work/done"
  for name in wrote known folders; do
    cp "$work/$name" "$state/$name.new"
    mv -f "$state/$name.new" "$state/$name"
  done
  cp "$work/done" "$state/done.new"
  mv -f "$state/done.new" "$state/done-$id"
}

# An existing folder changes file by file; whatever ends it among them, the next run completes it.
merge() {
  state=$root/.colab_magics/script
  mkdir -p "$state"
  for name in wrote known folders; do
    if [ -f "$state/$name" ]; then
      cp "$state/$name" "$work/$name.before"
    else
      : >"$work/$name.before"
    fi
    : >"$work/$name"
  done
  compare
  decide
  # From here on the folder changes. What will be written is recorded first, so that a run which dies here does not
  # leave files that nobody remembers.
  cat "$work/wrote.before" "$work/wrote" >"$work/both"
  mv -f "$work/both" "$state/wrote"
  rm -f "$state/done-$id"
  while IFS= read -r name; do
    make_room "$name"
  done <"$work/clear"
  removed=0
  if [ -n "$mirror" ] && [ -z "$one_file" ]; then
    remove_the_rest
  fi
  while IFS= read -r name; do
    mkdir -p "$(dirname "$root/$name")"
    mv -f "$work/tree/$name" "$root/$name"
  done <"$work/add"
  while IFS= read -r name; do
    mode=$(stat -c %a "$root/$name" 2>/dev/null || stat -f %Lp "$root/$name")
    chmod "$mode" "$work/tree/$name"
    if grep -Fxq -e "$name" "$work/keep"; then
      set_aside "$name"
    fi
    mv -f "$work/tree/$name" "$root/$name"
  done <"$work/replace"
  remember
  report
}

# Look at what stands at each name: to add, to clear first, to compare (common), or to leave alone.
compare() {
  : >"$work/add"
  : >"$work/clear"
  : >"$work/common"
  : >"$work/left"
  : >"$work/kept"
  below=
  (cd "$work/tree" && find . ! -name .) >"$work/all"
  : >"$work/names"
  while IFS= read -r name; do
    case $name in
      "$below"/*) continue ;;
    esac
    source=$work/tree/$name
    target=$root/$name
    if [ -L "$target" ]; then
      # A symlink here is this machine's layout: nothing is written through it.
      if [ ! -L "$source" ] || [ "$(readlink "$source")" != "$(readlink "$target")" ]; then
        printf '%s\n' "$name" >>"$work/left"
        below=$name
      fi
    elif [ -d "$source" ] && [ ! -L "$source" ] && [ -d "$target" ]; then
      :
    elif [ ! -e "$target" ]; then
      printf '%s\n' "$name" >>"$work/add"
      below=$name
    elif [ -f "$source" ] && [ ! -L "$source" ] && [ -f "$target" ]; then
      if [ -n "$once" ]; then
        printf '%s\n' "$name" >>"$work/kept"
      else
        printf '%s\n' "$name" >>"$work/common"
      fi
    elif [ -n "$once" ]; then
      printf '%s\n' "$name" >>"$work/left"
      below=$name
    else
      printf '%s\n' "$name" >>"$work/clear"
      printf '%s\n' "$name" >>"$work/add"
      below=$name
    fi
  done <"$work/all"
  (cd "$work/tree" && find . -type f -exec cksum {} +) >"$work/new"
  : >"$work/old"
  if [ -s "$work/common" ]; then
    (cd "$root" && tr '\n' '\000' <"$work/common" | xargs -0 cksum) >"$work/old"
  fi
  while IFS= read -r name; do
    if [ -d "$work/tree/$name" ] && [ ! -L "$work/tree/$name" ]; then
      (cd "$work/tree" && find "$name" -type d)
    fi
  done <"$work/add" >"$work/folders.new"
}

# Say what happens to each file (`replace`; `keep` for what the user changed), what is known afterwards, and how many.
decide() {
  : >"$work/replace"
  : >"$work/keep"
  (
    cd "$work" || exit 1
    LC_ALL=C awk -v single="$([ -z "$one_file" ] || echo yes)" '
      function spared(name) {
        while (name != "." && name != "") {
          if (name in left) return 1
          sub(/\/[^\/]*$/, "", name)
        }
        return 0
      }
      FILENAME == "left" { left[$0] = 1; next }
      FILENAME == "kept" { kept[$0] = 1; next }
      FILENAME == "all" { all[$0] = 1; next }
      { sum = $1 " " $2; name = substr($0, length(sum) + 2) }
      FILENAME == "new" { now[name] = sum; next }
      FILENAME == "old" { there[name] = sum; next }
      FILENAME == "wrote.before" { wrote[name] = sum; ours[$0] = 1; next }
      FILENAME == "known.before" { known[name] = sum; ours[$0] = 1; next }
      END {
        for (name in now) {
          if (spared(name)) continue
          if (name in kept) {
            same++
            continue
          }
          if ((name in there) && there[name] == now[name]) {
            same++
            if (name in wrote) wrote[name] = now[name]
            else known[name] = now[name]
            continue
          }
          if (name in there) {
            updated++
            print name > "replace"
            if (!((there[name] " " name) in ours)) print name > "keep"
          } else {
            added++
          }
          delete wrote[name]
          delete known[name]
          if (single) known[name] = now[name]
          else wrote[name] = now[name]
        }
        for (name in wrote) print wrote[name] " " name > "wrote"
        for (name in known) print known[name] " " name > "known"
        for (name in all) if (!spared(name)) print name > "names"
        print added + 0, updated + 0, same + 0 > "counts"
      }' left kept all new old wrote.before known.before
  )
  LC_ALL=C sort -u "$work/folders.before" "$work/folders.new" >"$work/folders"
}

# is_ours NAME: whether a file, or all that is in a folder, is just as a sync wrote it.
is_ours() {
  find "$root/$1" ! -type d ! -type f | grep -q . && return 1
  (cd "$root" && find "$1" -type f -exec cksum {} +) | grep -Fxvq -f "$work/wrote.before" && return 1
  return 0
}

# make_room NAME: what the user made or changed goes to the backups; what is just as a sync left it may go.
make_room() {
  if is_ours "$1"; then
    rm -rf "${root:?}/$1"
  else
    set_aside "$1"
  fi
}

# set_aside NAME: move it to the backups.
set_aside() {
  backup=$(free_name "$root/.colab_magics/backup/${1#./}")
  mkdir -p "${backup%/*}"
  mv "$root/$1" "$backup"
  say "line $line: dropbox_sync: your ${1#./} is now $backup"
}

# is_reached NAME: whether no symlink stands above it.
is_reached() {
  above=${1%/*}
  while [ "$above" != . ]; do
    if [ -L "$root/$above" ]; then
      return 1
    fi
    above=${above%/*}
  done
}

# For --mirror: what syncs wrote and the link no longer holds.
remove_the_rest() {
  LC_ALL=C sort "$work/held" >"$work/held.sorted"
  sed 's/^[0-9]* [0-9]* //' "$work/wrote.before" | LC_ALL=C sort -u | LC_ALL=C comm -23 - "$work/held.sorted" >"$work/gone"
  cp "$work/folders.before" "$work/emptied"
  : >"$work/forget"
  while IFS= read -r name; do
    if is_reached "$name"; then
      printf '%s\n' "$name" >>"$work/forget"
      if [ -f "$root/$name" ] && [ ! -L "$root/$name" ]; then
        make_room "$name"
        removed=$((removed + 1))
        above=${name%/*}
        while [ "$above" != . ]; do
          printf '%s\n' "$above" >>"$work/emptied"
          above=${above%/*}
        done
      fi
    fi
  done <"$work/gone"
  LC_ALL=C sort -u "$work/emptied" | LC_ALL=C comm -23 - "$work/held.sorted" >"$work/drop"
  # The longest first: a folder after those that are in it.
  LC_ALL=C awk '{ print length($0), $0 }' "$work/drop" | sort -rn | sed 's/^[0-9]* //' >"$work/deepest_first"
  while IFS= read -r name; do
    if is_reached "$name" && [ ! -L "$root/$name" ]; then
      rmdir "$root/$name" 2>/dev/null || :
    fi
  done <"$work/deepest_first"
  LC_ALL=C comm -23 "$work/folders" "$work/drop" >"$work/folders.kept"
  mv -f "$work/folders.kept" "$work/folders"
  LC_ALL=C awk 'FILENAME != "-" { gone[$0] = 1; next }
    { name = $0; sub(/^[0-9]* [0-9]* /, "", name); if (!(name in gone)) print }' "$work/forget" - <"$work/wrote" >"$work/wrote.kept"
  mv -f "$work/wrote.kept" "$work/wrote"
}

# Tell what happened.
report() {
  read -r added updated same <"$work/counts"
  if [ -s "$work/left" ]; then
    say "line $line: dropbox_sync: left alone, since a symlink or a kept file stands there: $(head -n 3 "$work/left" | sed 's|^\./||' | tr '\n' ' ')"
  fi
  if [ "$removed" -eq 0 ] && [ ! -s "$work/add" ] && [ ! -s "$work/replace" ] && [ ! -s "$work/clear" ]; then
    say "line $line: dropbox_sync: up to date"
  else
    say "line $line: dropbox_sync: $added added, $updated updated, $same unchanged, $removed removed"
  fi
}
