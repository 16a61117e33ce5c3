# An archive -> a folder that holds just what is in it.
# shellcheck shell=sh disable=SC2154,SC2034

# unpack FILE INTO: unpack a zip (or a tar) into the new folder INTO, and prove every member.
unpack() {
  mkdir "$2"
  if command -v "$PYTHON" >/dev/null 2>&1; then
    unpack_with_python "$1" "$2" || exit 1
  elif is_zip "$1"; then
    unpack_zip "$1" "$2"
  else
    unpack_tar "$1" "$2"
  fi
}

unpack_with_python() {
  "$PYTHON" -I - "$1" "$2" <<'END_OF_PYTHON'
@unpack.py@
END_OF_PYTHON
}

# unpack_zip FILE INTO: with unzip. Dropbox's first entry is /, which unzip warns of and fails for.
unpack_zip() {
  LC_ALL=C.UTF-8 unzip -Z1 "$1" >"$private/names" 2>/dev/null || case $? in
    1) : >"$private/names" ;;
    *) fail "$link_shown sent no whole zip; run it again to fetch it anew" ;;
  esac
  if grep -Eq '(^/.|\\|(^|/)\.\.(/|$)|^[A-Za-z]:/|\^J)' "$private/names"; then
    fail "$link_shown sent an archive with a member that would be written outside the folder, or whose name no file can have; nothing was written"
  fi
  # The long list has the rights: a ? in front where there is no type, as in Dropbox's zips; capital B or T: encrypted.
  LC_ALL=C.UTF-8 unzip -Zs "$1" 2>/dev/null | sed -n '3,$p' | awk '{ print $1, $3, $5 }' >"$private/rights" || :
  if grep -Eq '^[^ ]* [^ ]* [BT]' "$private/rights"; then
    fail "$link_shown sent an archive with an encrypted member; share it without a zip password"
  fi
  if grep -q -v -x / "$private/names"; then
    LC_ALL=C.UTF-8 unzip -q -o "$1" -x / -d "$2" </dev/null >"$private/log" 2>&1 || case $? in
      1) ;;
      *) fail "$link_shown sent an archive that is not whole; run it again to fetch it anew" ;;
    esac
  fi
  awk '{ rights = $0; getline name <names } rights ~ /^-..x[^ ]* unx / { print name }' names="$private/names" "$private/rights" >"$private/runs"
  settle "$2"
}

# unpack_tar FILE INTO: with tar.
unpack_tar() {
  tar -tf "$1" >"$private/names" 2>/dev/null || fail "$link_shown did not send a whole archive of a kind that can be unpacked here; run it again, or without --unpack"
  if grep -Eq '(^/|\\|(^|/)\.\.(/|$))' "$private/names"; then
    fail "$link_shown sent an archive with a member that would be written outside the folder; nothing was written"
  fi
  (cd "$2" && umask 077 && tar -xof "$1") || fail "$link_shown sent an archive that is not whole; run it again to fetch it anew"
  (cd "$2" && find . -type f -perm -100) >"$private/runs"
  settle "$2"
}

# settle FOLDER: give what was unpacked the rights of new files, and refuse what must not be there.
settle() {
  chmod -R u+rwX "$1"
  find "$1" -type d -exec chmod =rwx {} +
  find "$1" -type f -exec chmod =rw {} +
  while IFS= read -r name; do
    if [ -f "$1/$name" ]; then
      chmod +x "$1/$name"
    fi
  done <"$private/runs"
  if find "$1" ! -type f ! -type d ! -type l | grep -q .; then
    fail "$link_shown sent an archive with a device or pipe; nothing was written"
  fi
  if find "$1" -name '*
*' | grep -q .; then
    fail "$link_shown sent an archive with a line break in a name; nothing was written"
  fi
  (cd "$1" && find . -type l) >"$private/names"
  while IFS= read -r name; do
    target=$(readlink "$1/$name")
    case $(absolute "/.stay/${name%/*}/$target"):$target in
      *:/*) ;;
      /.stay/*) continue ;;
    esac
    fail "the archive's symlink '$name' points outside the folder; nothing was written"
  done <"$private/names"
}

# digest_of FILE: print its SHA-256.
digest_of() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$1" | cut -c 1-64
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 <"$1" | cut -c 1-64
  else
    "$PYTHON" -I -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1"
  fi
}
