# Where things lie on this machine.
# shellcheck shell=sh disable=SC2154,SC2034

# absolute PATH: print it from the root on, with drive: and ~ resolved, and . and .. by the text alone.
absolute() {
  path=$(expand_path "$1") || exit 1
  case $path in
    /*) printf '%s/\n' "$path" ;;
    *) printf '%s/\n' "$PWD/$path" ;;
  esac | sed -e 's|//*|/|g' -e ':a' -e 's|/\./|/|' -e ta -e 's|^/\.\./|/|' -e ta -e 's|/[^/]*/\.\./|/|' -e ta -e 's|\(.\)/$|\1|'
}

# Print the drive's root, or say that there is none.
drive_root() {
  root=$(expand_path "${COLAB_MAGICS_DRIVE_ROOT:-${mounted:-/content/drive}/MyDrive}")
  [ -d "$root" ] || fail "there is no drive folder '$root'; set COLAB_MAGICS_DRIVE_ROOT to the folder to use as the drive (Colab's own, only a notebook can mount it: run %mount_drive there)"
  printf '%s\n' "${root%/}"
}

# expand_path PATH: print it with drive: and ~ resolved.
expand_path() {
  case $1 in
    drive:../* | drive:*/../* | drive:*/.. | drive:..) fail "'$1' may leave the drive; give it without .." ;;
    drive:*)
      root=$(drive_root) || exit 1
      printf '%s\n' "$root/${1#drive:}"
      ;;
    \~ | \~/*) printf '%s\n' "$HOME${1#?}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# keep_as PATH BACKUP: move PATH to BACKUP, or to BACKUP~, BACKUP~~, ... if something stands there, and say so.
keep_as() {
  backup=$2
  while [ -e "$backup" ] || [ -L "$backup" ]; do
    backup=$backup~
  done
  mkdir -p "${backup%/*}"
  mv "$1" "$backup"
  say "what stood at $1 is now $backup"
}

# mount_drive MOUNTPOINT
mount_drive() {
  mounted=$(expand_path "$1")
  root=$(drive_root)
  say "$root"
}
