# A symlink at its place, whatever stale link stands there.
# shellcheck shell=sh disable=SC2154,SC2034

# symlink [--force] SOURCE LINK
symlink() {
  force=
  if [ "$1" = --force ]; then
    force=yes
    shift
  fi
  target=$(absolute "$1")
  link=$(absolute "$2")
  case $(readlink -f "${link%/*}/")/${link##*/}:$target/ in
    "$target":* | *:"$link"/) fail "'$2' would point to itself; give another place, or another source" ;;
    *:"$link"/*) [ -L "$link" ] || fail "the source lies inside '$2', which the link would replace; give another place" ;;
  esac
  case $1 in
    drive:*) [ -e "$target" ] || mkdir -p "$target" ;;
    *) [ -e "$target" ] || [ -L "$target" ] || fail "the source '$1' does not exist; correct it, or make it first" ;;
  esac
  if [ -L "$link" ] && [ "$(cd "${link%/*}" && absolute "$(readlink "$link")")" = "$target" ] && [ -e "$target" ]; then
    say 'up to date'
    return 0
  fi
  mkdir -p "${link%/*}/"
  if [ -L "$link" ] || [ ! -e "$link" ] || holds_target "$link" "$target"; then
    :
  elif ! rmdir "$link" 2>/dev/null; then
    [ -n "$force" ] || fail "'$2' is a folder or file with content of its own; move it away, or use --force to keep it as a backup beside it"
    keep_as "$link" "$link.backup"
  fi
  # Beside its place first, then over it in one step where mv knows how (-T): there is no moment without a link.
  fresh=${link%/*}/.${link##*/}.link.$$
  ln -s "$target" "$fresh"
  if ! mv -fT "$fresh" "$link" 2>/dev/null; then
    rm -f "$link"
    mv "$fresh" "$link"
  fi
  say linked
}

# holds_target FILE TARGET: whether a small file is what a synced folder leaves in a link's place: its target as text.
holds_target() {
  [ -f "$1" ] && [ "$(wc -c <"$1")" -le 4096 ] || return 1
  text=$(tr -d '\000\r' <"$1")
  case $text in
    '' | *'
'* | *://* | *[[:space:]]-*) return 1 ;; # "./train.sh --fast" is somebody's script
    */"${2##*/}" | /* | ./* | ../* | \~/*) ;;
    *) [ "$text" = "${2##*/}" ] ;;
  esac
}
