# A share link, understood as colab_magics.core.links does.
# shellcheck shell=sh disable=SC2154,SC2034

# read_link LINK: set link_kind (file, folder, redirector, url), link_url (what to fetch), link_name (of the file, where
# the link tells it), link_shown (for messages) and link_known (what it is remembered by).
read_link() {
  text=$(printf '%s' "$1" | sed -e 's/^[[:space:]<>"]*//' -e 's/[[:space:]<>"]*$//' -e 's/&amp;/\&/g' -e 's/ /%20/g')
  case $text in
    http://* | https://*) ;;
    dropbox.com/* | *.dropbox.com/* | *.dropboxusercontent.com/* | db.tt/*) text=https://$text ;;
    *) fail "what was given is not a link; give the https:// address that Dropbox's Share > Copy link makes" ;;
  esac
  text=${text%%#*}
  scheme=${text%%://*}
  text=${text#*://}
  host=${text%%[/?]*}
  text=${text#"$host"}
  query=
  case $text in
    *\?*) query=${text#*\?} ;;
  esac
  text=${text%%\?*}
  case $host in
    *@*) fail "the address holds a user name or password; revoke it, and give the link without it" ;;
  esac
  host=$(printf '%s' "$host" | tr '[:upper:]' '[:lower:]')
  base=${COLAB_MAGICS_DROPBOX_URL:-https://www.dropbox.com}
  base=${base%/}
  base_host=${base#*://}
  base_path=${base_host#"${base_host%%/*}"}
  base_host=${base_host%%/*}
  link_name=$(file_name "$text")
  case $host in
    "$base_host")
      case $text in
        "$base_path"/*) text=${text#"$base_path"} ;;
      esac
      read_dropbox_link
      ;;
    dropbox.com | www.dropbox.com | m.dropbox.com | dl.dropbox.com | *.dl.dropbox.com) read_dropbox_link ;;
    dropboxusercontent.com | *.dropboxusercontent.com | paper.dropbox.com) read_dropbox_link ;;
    db.tt | www.db.tt)
      link_kind=redirector link_url=https://$host$text link_known=$link_url link_shown="https://$host/***"
      ;;
    *)
      link_kind=url link_url=$scheme://$host$text${query:+?$query} link_known=$scheme://$host$text${query:+?$query}
      link_shown=$scheme://$host$text${query:+?***}
      ;;
  esac
}

# The part of it for Dropbox's own addresses.
read_dropbox_link() {
  key=
  case "&$query" in
    *'&rlkey='*)
      key=\&$query
      key=${key#*&rlkey=}
      key=${key%%&*}
      ;;
  esac
  text=$(printf '%s' "$text" | sed -e 's|//*|/|g' -e 's|/$||' -e 's|^/e/scl/|/scl/|' -e 's|^/\(sh\{0,1\}\)/dl/|/\1/|')
  case $host$text in
    paper.dropbox.com*) text= ;;
  esac
  link_shown="https://www.dropbox.com/${text#/}"
  case $text in
    /l/?*) link_kind=redirector link_name='' link_shown="https://www.dropbox.com/l/***" ;;
    /scl/fi/?*) link_kind='file' ;;
    /s/?*) link_kind='file' link_shown="https://www.dropbox.com/s/***" ;;
    /scl/fo/?*/?*) link_kind=folder link_name= ;;
    /sh/?*/?*) link_kind=folder link_name='' link_shown="https://www.dropbox.com/sh/***" ;;
    *) fail "this is not a Dropbox share link that can be downloaded; open it on dropbox.com, choose Share > Copy link, and use that" ;;
  esac
  case $text in
    /s/*/*) ;;
    /s/*) link_name= ;;
    /scl/fi/*/*) ;;
    /scl/fi/*) link_name= ;;
  esac
  text="$text?${key:+rlkey=$key&}dl=1"
  link_url=$base$text link_known=https://www.dropbox.com$text
}

# file_name PATH: print the last part of an address's path, decoded, as the name of a file.
file_name() {
  name=${1%"${1##*[!/]}"}
  plain_name "$(printf '%s' "${name##*/}" | decode)"
}

# plain_name TEXT: print it without folders and control characters; nothing when nothing is left to call a file.
plain_name() {
  name=${1##*[/\\]}
  name=$(printf '%s' "$name" | LC_ALL=C tr '\001-\037\177' _)
  case $name in
    . | ..) ;;
    *) printf '%s' "$name" ;;
  esac
}

# Decode %XX.
decode() {
  LC_ALL=C awk '
    {
      out = ""
      while (at = match($0, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
        high = index("0123456789abcdef", tolower(substr($0, at + 1, 1))) - 1
        low = index("0123456789abcdef", tolower(substr($0, at + 2, 1))) - 1
        out = out substr($0, 1, at - 1) (high + low ? sprintf("%c", high * 16 + low) : "")
        $0 = substr($0, at + 3)
      }
      printf "%s%s", (NR > 1 ? "\n" : ""), out $0
    }'
}

# Encode everything as %XX.
encode() {
  od -An -v -tx1 | tr -d '\n' | tr -s ' ' % | sed 's/%$//'
}
