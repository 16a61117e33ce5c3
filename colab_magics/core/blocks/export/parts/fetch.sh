# What a share link leads to, with curl or wget: addresses and passwords reach them through standard input or a private
# file.
# shellcheck shell=sh disable=SC2154,SC2034

# is_private ADDRESS: whether nobody on the way can read along: https, or this machine.
is_private() {
  case $1/ in
    http://*@*) return 1 ;;
    https://* | http://127.0.0.1[:/]* | http://localhost[:/]* | 'http://[::1]'*) ;;
    *) return 1 ;;
  esac
}

# read_link LINK: set link_kind (file, folder, redirector, url), link_url (what to fetch) and link_id (what it is
# remembered by).
read_link() {
  base=${COLAB_MAGICS_DROPBOX_URL:-https://www.dropbox.com} base=${base%/}
  is_private "$base" || fail 'COLAB_MAGICS_DROPBOX_URL must be an https:// address (http:// only on this machine)'
  address=${1%%#*}
  case $address in
    "$base"/*) path=${address#"$base"} ;;
    *) path=$(printf '%s\n' "$address" | sed -n -E 's,^(https?://)?(www\.|m\.|dl\.)?dropbox(usercontent)?\.com/+,/,p') ;;
  esac
  query=\&${path#*\?}
  path=$(printf '%s\n' "${path%%\?*}" | sed -e 's|/$||' -e 's|^/e/scl/|/scl/|' -e 's|^/\(sh\{0,1\}\)/dl/|/\1/|')
  case $path:$address in
    /l/?*:*) link_kind=redirector ;;
    /scl/fi/?*:* | /s/?*:*) link_kind='file' ;;
    /scl/fo/?*/?*:* | /sh/?*/?*:*) link_kind=folder ;;
    :*://db.tt/* | :db.tt/*) link_kind=redirector ;;
    :http://* | :https://*) link_kind=url ;;
    *) fail "this is no link that can be downloaded; open it on dropbox.com, choose Share > Copy link, and use that" ;;
  esac
  link_url=$address link_id=$address
  if [ -n "$path" ]; then
    case $query in
      *'&rlkey='*) query=${query#*&rlkey=} path="$path?rlkey=${query%%&*}&dl=1" ;;
      *) path="$path?dl=1" ;;
    esac
    link_url=$base$path link_id=$path
  fi
}

# fetch FILE: write what the link leads to into FILE. Each try begins at the share link: what it redirects to is valid
# for a while only.
fetch() {
  outcome=''
  follow "$1"
  for try in 1 2 3 4; do
    if [ -n "$outcome" ]; then
      say "$outcome; trying again ($try of 4)"
      sleep 1
      outcome=''
      follow "$1"
    fi
  done
  [ -z "$outcome" ] || fail "the link could not be fetched: $outcome; check the network and run it again"
  refuse_page "$1"
  answer_name
  rm -f "$private/headers" # they hold addresses that grant access for a while
}

# follow FILE: one try. A redirect leads to https or to this machine, or it is not followed. Sets $outcome when it is
# worth another try.
follow() {
  authed='' #: --password
  address=$link_url
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    is_private "$address" || [ "$link_kind:$address" = "url:$link_url" ] ||
      fail "the link redirects to an address that is not https; it was not followed"
    connection=0
    request "$address" "$1" || connection=$?
    status=$(sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' "$private/headers" | tail -n 1)
    location=$(header location)
    case $status:${address%%\?*} in
      *:*/sm/password)
        [ -z "$authed" ] || fail "the link asks for its password again; check it in a browser" #: --password
        [ -n "$password" ] || fail "the link needs a password; store it as a secret and add --password secret:NAME"
        answer_password "$1" #: --password
        authed=yes address=$link_url #: --password
        ;;
      30[12378]:*)
        address=$(beside "$address" "$location")
        case $link_kind:${address%%\?*}/ in
          url:*) ;;
          redirector:*) read_link "$address" && address=$link_url ;;
          *://*/login/*) fail "the link asks to log in: it is not shared with everybody who has it; change that, or make a new link" ;;
        esac
        ;;
      2??:*)
        [ -e "$1" ] || : >"$1"
        [ "$connection" -eq 0 ] || outcome='the connection ended too early'
        return 0
        ;;
      429:* | 509:*) fail "the traffic of the link is used up ($status); try again later, or share it elsewhere" ;;
      :* | 408:* | 425:* | 5??:*)
        outcome="the server does not answer${status:+ as it should ($status)}"
        return 0
        ;;
      404:* | 410:*) fail "the link is gone ($status): deleted, moved, or mistyped; make a new link and use that" ;;
      *) fail "the link may not be read ($status): it has expired, is restricted, or its rlkey=... is missing; make a new link and use that" ;;
    esac
  done
  fail "the link redirects in circles; make a new link and use that"
}

# refuse_page FILE: end the step when a web page came in place of the content, as errors often do with status 200.
refuse_page() {
  case $link_kind:${link_url%%\?*}:$(header content-disposition):$(header content-type) in
    url:*.htm:* | url:*.html:* | *:*attachment*:*) ;;
    *:text/html*)
      title=$(tr '\000\n' '  ' <"$1" | sed -n 's/.*<title>\([^<]*\)<.*/\1/p' | cut -c 1-200)
      fail "the link answers with a web page ('$title'), not with a file: it may ask to log in, be switched off for its traffic, or be too large for Dropbox's zip (20 GB, 10,000 files); open it in a browser"
      ;;
  esac
}

# is_zip FILE: whether it begins as a zip does.
is_zip() {
  [ "$(dd if="$1" bs=2 count=1 2>/dev/null | tr -d '\000')" = PK ]
}

# header NAME: print the answer's header of that name (in lower case).
header() {
  tr -d '\r' <"$private/headers" | awk -v name="$1:" '{ sub(/^ +/, "") } index(tolower($0), name) == 1 { found = substr($0, length(name) + 1) } END { sub(/^[ \t]+/, "", found); print found }'
}

# Set answer_name: as the server names the file (RFC 6266), else as the link ends; no folder, no control character.
answer_name() {
  answer_name=$(header content-disposition)
  case $answer_name in
    *[Ff]ile[Nn]ame\*=*) answer_name=${answer_name#*[Ff]ile[Nn]ame\*=} answer_name=${answer_name#*\'*\'} answer_name=$(decode "${answer_name%%[;\"]*}") ;;
    *[Ff]ile[Nn]ame=\"*) answer_name=${answer_name#*[Ff]ile[Nn]ame=\"} answer_name=${answer_name%%\"*} ;;
    *[Ff]ile[Nn]ame=*) answer_name=${answer_name#*[Ff]ile[Nn]ame=} answer_name=${answer_name%%;*} ;;
    *) answer_name=${link_url%%\?*} answer_name=$(decode "${answer_name##*/}") ;;
  esac
  answer_name=$(printf '%s' "${answer_name##*[/\\]}" | tr '\001-\037\177' _)
  case $answer_name in
    '' | . | ..) answer_name=download ;;
  esac
}

# decode TEXT: print it with its %XX decoded.
decode() {
  printf '%s\n' "$1" | awk '{
    while (match($0, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
      code = 16 * index("123456789abcdef", tolower(substr($0, RSTART + 1, 1))) + index("123456789abcdef", tolower(substr($0, RSTART + 2, 1)))
      printf "%s%c", substr($0, 1, RSTART - 1), code ? code : 95
      $0 = substr($0, RSTART + 3)
    }
    print
  }'
}

# beside ADDRESS LOCATION: print where a redirect from ADDRESS leads.
beside() {
  case $2 in
    *://*) printf '%s\n' "$2" ;;
    *) printf '%s%s\n' "$(printf '%s\n' "$1" | sed 's|^\([^:]*://[^/?]*\).*|\1|')" "$2" ;;
  esac
}

# request ADDRESS FILE [FORM]: ask for ADDRESS once, following nothing. With FORM, a file, that is sent (POST).
request() {
  : >"$private/headers"
  quoted=$(printf '%s\n' "$1" | sed -e 's/"/%22/g' -e 's/\\/%5C/g' -e 's/ /%20/g')
  # What is on this machine is asked past every proxy, which would see the link's key.
  direct=127.0.0.1,localhost,::1,${no_proxy:-${NO_PROXY-}}
  if command -v curl >/dev/null 2>&1; then
    printf 'url = "%s"\n' "$quoted" | no_proxy=$direct curl -q --config - ${3:+--data-binary "@$3"} --silent --globoff \
      --proto '=http,https' --max-redirs 0 --connect-timeout 15 --speed-limit 1 --speed-time 60 --remote-time \
      --user-agent colab-magics --cookie "$private/cookies" --cookie-jar "$private/cookies" \
      --dump-header "$private/headers" --output "$2"
  else
    connection=0
    printf '%s\n' "$quoted" | no_proxy=$direct wget --no-config --input-file=- ${3:+"--post-file=$3"} --server-response \
      --max-redirect=0 --tries=1 --connect-timeout=15 --read-timeout=60 --no-hsts --no-netrc --content-on-error \
      --user-agent=colab-magics --keep-session-cookies --load-cookies="$private/cookies" \
      --save-cookies="$private/cookies" --output-file="$private/log" --output-document="$2" || connection=$?
    # Status 8 is an answer too: a redirect or an error; the log's indented lines are its headers.
    sed -n 's/^  //p' "$private/log" >"$private/headers"
    rm -f "$private/log"
    [ "$connection" -eq 8 ] || return "$connection"
  fi
}

# answer_password FILE: send the link's password, as Dropbox's own page does.
answer_password() {
  case $address in
    "$base"/* | https://www.dropbox.com/* | https://dropbox.com/*) ;;
    *) fail "the link asks for its password on another site; it was not sent, open it in a browser" ;;
  esac
  content=$(printf '%s\n' "$address" | sed -n 's/.*[?&]content_id=\([^&]*\).*/\1/p')
  token=$(awk '$6 == "t" { print $7 }' "$private/cookies" | tail -n 1)
  printf 'is_xhr=true&t=%s&content_id=%s&password=%s&url=%s' "$token" "$content" \
    "$(printf '%s' "$password" | encode)" "$(printf '%s' "$link_id" | encode)" >"$private/form"
  request "$(beside "$address" /sm/auth)" "$1" "$private/form" || :
  rm -f "$private/form"
  grep -Eq '"status": *"authed"' "$1" || fail "the link does not accept its password; check it in a browser"
}

# Encode everything as %XX.
encode() {
  od -An -v -tx1 | tr -d '\n' | tr -s ' ' % | sed 's/%$//'
}
