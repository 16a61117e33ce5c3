# A symlink at its place, whatever stale link stands there.
# shellcheck shell=sh disable=SC2154,SC2034

# symlink [--force] SOURCE LINK
symlink() {
  force=
  if [ "$1" = --force ]; then
    force=yes
    shift
  fi
  target=$(expand_path "$1")
  target=$(absolute "$target")
  shown=${2%"${2##*[!/]}"}
  link=$(expand_path "$shown")
  link=$(absolute "$link")
  itself=$(real "${link%/*}/")/${link##*/}
  if [ "$target" = "$link" ] || [ "$target" = "$itself" ]; then
    fail "'$shown' would point to itself; give another place, or another source"
  fi
  case $target/ in
    "$link"/*) [ -L "$link" ] || fail "the source lies inside '$shown', which the link would replace; give another place" ;;
  esac
  case $1 in
    drive:*) [ -e "$target" ] || mkdir -p "$target" ;;
    *) [ -e "$target" ] || [ -L "$target" ] || fail "the source '$1' does not exist; correct it, or make it first" ;;
  esac
  if [ -L "$link" ] && [ -e "$target" ]; then
    now=$(readlink "$link")
    case $now in
      /*) now=$(absolute "$now") ;;
      *) now=$(absolute "${link%/*}/$now") ;;
    esac
    if [ "$now" = "$target" ]; then
      say "line $line: symlink: up to date"
      return 0
    fi
  fi
  obstacle=$(obstacle_at "$link" "$target")
  if [ -n "$obstacle" ] && [ -z "$force" ]; then
    fail "'$shown' is $obstacle; move it away, or use --force to keep it as a backup beside it"
  fi
  mkdir -p "${link%/*}/"
  if [ -n "$obstacle" ]; then
    backup=$(free_name "$link.backup")
    mv "$link" "$backup"
    say "line $line: symlink: what stood there is now $backup"
  elif [ -d "$link" ] && [ ! -L "$link" ]; then
    rmdir "$link"
  fi
  # Beside its place first, then over it in one step where mv knows how (-T): there is no moment without a link.
  fresh=$(free_name "${link%/*}/.${link##*/}.link")
  ln -s "$target" "$fresh"
  if ! mv -fT "$fresh" "$link" 2>/dev/null; then
    rm -f "$link"
    mv "$fresh" "$link"
  fi
  say "line $line: symlink: linked"
}

# obstacle_at LINK TARGET: print what stands there that must not be lost; nothing when it can give way.
obstacle_at() {
  if [ -L "$1" ] || [ ! -e "$1" ]; then
    return 0
  elif [ -d "$1" ]; then
    [ -z "$(find "$1/." ! -name . -prune -print | head -n 1)" ] || echo 'a folder with content'
  elif ! holds_target "$1" "$2"; then
    echo 'a file with content of its own'
  fi
}

# holds_target FILE TARGET: whether a small file is what a synced folder leaves in a link's place: its target as text.
holds_target() {
  [ -f "$1" ] && [ "$(($(wc -c <"$1")))" -le 4096 ] || return 1
  text=$(tr -d '\000\r' <"$1")
  case $text in
    '' | *'
'* | *://*) return 1 ;;
  esac
  if [ "${text##*/}" = "${2##*/}" ]; then
    return 0
  fi
  case $text in
    *[[:space:]]-*) return 1 ;; # "./train.sh --fast" is somebody's script
    /* | ./* | ../* | \~/*) return 0 ;;
  esac
  return 1
}
