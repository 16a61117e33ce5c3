# Keeping a folder at another place, and bringing it back.
# shellcheck shell=sh disable=SC2154,SC2034

# keep SECONDS SOURCE DEST [--include PATTERN] [--exclude PATTERN] [--last N PATTERN]...: copy what appears, again and
# again in the background, and once more when the script ends.
keep() {
  seconds=$1 source=$(absolute "$2")
  dest=$(absolute "$3")
  shift 3
  case $source/ in "$dest"/*) fail "'$source' lies in '$dest'; keep it at another place" ;; esac
  case $dest/ in "$source"/*) fail "'$dest' lies in '$source'; keep it at another place" ;; esac
  mkdir -p "$source"
  keeper=$private/keep-$line
  mkdir "$keeper"
  for word in "$seconds" "$source" "$dest" "$@"; do
    printf '%s\n' "$word"
  done >"$keeper/words"
  (
    trap - EXIT
    trap 'kill "$!" 2>/dev/null; exit 0' HUP INT TERM
    while :; do
      push "$keeper" || :
      sleep "$seconds" &
      wait "$!" || :
    done
  ) </dev/null >"$keeper/said" 2>&1 &
  echo "$!" >"$keeper/process"
  trap 'status=$?
    push_all
    (exit "$status")
    finish' EXIT
  say "keeping"
}

# The script ends: push what is left.
push_all() {
  for keeper in "$private"/keep-*; do
    if [ -f "$keeper/process" ]; then
      read -r process <"$keeper/process"
      kill "$process" 2>/dev/null || :
      wait "$process" 2>/dev/null || :
      rm "$keeper/process"
      push "$keeper" || printf 'keep: not everything could be copied; it is still in the folder\n' >&2
    fi
  done
}

# push FOLDER: copy what held still over two looks, each file whole: under another name, compared, then renamed.
push() (
  keeper=$1
  {
    read -r _
    read -r source
    read -r dest
  } <"$keeper/words"
  cd "$source" || exit 1
  mkdir -p "$dest/.colab_magics"
  kept=$dest/.colab_magics/kept
  touch "$kept"
  failed=
  find . -name .colab_magics -prune -o -type f -print | wanted "$keeper" >"$keeper/names"
  while IFS= read -r name; do
    if [ ! -f "$dest/$name" ] || [ -n "$(find "$name" -newer "$dest/$name")" ]; then
      printf '%s %s\n' "$(cksum <"$name")" "$name"
    fi
  done <"$keeper/names" >"$keeper/look"
  [ ! -s "$keeper/look" ] || sleep 1
  while read -r sum size name; do
    fresh=$dest/.colab_magics/keep.$$
    if [ "$(cksum <"$name")" != "$sum $size" ]; then
      continue # it is being written
    fi
    at=$name
    if [ -f "$dest/$name" ] && ! grep -Fxq -e "$(cksum <"$dest/$name") $name" "$kept"; then
      at=$name.kept # somebody else changed the one there
    fi
    mkdir -p "$dest/${at%/*}"
    if cp -p "$name" "$fresh" && [ "$(cksum <"$fresh")" = "$sum $size" ] && [ "$(cksum <"$name")" = "$sum $size" ]; then
      printf '%s\n' "$sum $size $name" >>"$kept"
      mv -f "$fresh" "$dest/$at"
    else
      rm -f "$fresh"
      failed=yes
    fi
  done <"$keeper/look"
  [ -n "$failed" ] || only_last "$keeper"
  [ -z "$failed" ]
)

# wanted FOLDER: of the names that are read print those that its patterns take.
wanted() {
  sed 1,3d "$1/words" | {
    : >"$1/include"
    : >"$1/exclude"
    : >"$1/last"
    while IFS= read -r word; do
      case $word in
        --last)
          read -r count
          IFS= read -r word
          printf '%s %s\n' "$count" "$word" >>"$1/last"
          ;;
        *)
          IFS= read -r pattern
          printf '%s\n' "$pattern" >>"$1/${word#--}"
          ;;
      esac
    done
  }
  if [ -s "$1/include" ]; then grep -E -f "$1/include"; else cat; fi |
    if [ -s "$1/exclude" ]; then grep -E -v -f "$1/exclude"; else cat; fi || :
}

# only_last FOLDER: of what a pattern of --last matches remove, of our own copies, all but the newest.
only_last() {
  while read -r count pattern; do
    (cd "$dest" && find . -name .colab_magics -prune -o -type f -print) | grep -E -e "$pattern" >"$1/there" || continue
    (
      cd "$dest" || exit
      set -f
      IFS='
'
      # shellcheck disable=SC2046 # a name a line
      ls -1td $(cat "$1/there")
    ) | sed "1,${count}d" | while IFS= read -r name; do
      if grep -Fxq -e "$(cksum <"$dest/$name") $name" "$kept"; then
        rm -f "$dest/$name"
      fi
    done
  done <"$1/last"
}

# restore DEST SOURCE [--include PATTERN] [--exclude PATTERN]: bring back what is missing, or differs and is no newer.
restore() {
  dest=$(absolute "$1")
  source=$(absolute "$2")
  shift 2
  if [ ! -d "$dest" ] || [ -z "$(find "$dest/." ! -name . -prune -print | head -n 1)" ]; then
    say "nothing is kept at $dest yet, so there is nothing to bring back"
    return 0
  fi
  keeper=$private/restore-$line
  mkdir -p "$keeper" "$source"
  for word in '' '' '' "$@"; do
    printf '%s\n' "$word"
  done >"$keeper/words"
  (cd "$dest" && find . -name .colab_magics -prune -o -type f -print) | wanted "$keeper" >"$keeper/names"
  brought=0
  while IFS= read -r name; do
    if [ -e "$source/$name" ]; then
      if cmp -s "$dest/$name" "$source/$name" || [ -n "$(find "$source/$name" -newer "$dest/$name")" ]; then
        continue
      fi
      keep_as "$source/$name" "$source/.colab_magics/backup/${name#./}"
    fi
    mkdir -p "$(dirname "$source/$name")"
    cp -p "$dest/$name" "$source/$name.part"
    mv -f "$source/$name.part" "$source/$name"
    brought=$((brought + 1))
  done <"$keeper/names"
  say "$brought brought back"
}
