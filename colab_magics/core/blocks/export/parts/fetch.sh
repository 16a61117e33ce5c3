# Bytes over HTTP with curl or wget: addresses and passwords reach them through standard input or a private file.
# shellcheck shell=sh disable=SC2154,SC2034

# fetch FILE: write what the link shares to FILE; set answer_name, and answer_is_folder to yes for a folder's zip.
fetch() {
  tries=0
  outcome=
  while [ "$outcome" != whole ]; do
    pause=1
    follow "$1"
    if [ "$outcome" != whole ]; then
      tries=$((tries + 1))
      [ "$tries" -lt 5 ] || fail "$link_shown could not be fetched: $outcome; check the network and run it again"
      say "line $line: $outcome; trying again ($tries of 4)"
      sleep "$pause"
    fi
  done
  # They hold addresses that grant access for a while.
  rm -f "$private/headers"
}

# follow FILE: one try from the share link on. A redirect leads to https or to this machine, or it is not followed.
follow() {
  address=$link_url
  hops=0
  authed=
  while :; do
    hops=$((hops + 1))
    [ "$hops" -le 15 ] || fail "$link_shown redirects in circles; make a new link and use that"
    case $address in
      https://* | http://127.* | http://localhost[:/]* | 'http://[::1]'*) ;;
      *)
        case $link_kind$link_url in
          urlhttp://*) ;;
          *) fail "$link_shown redirects to an address that is not https; it was not followed" ;;
        esac
        ;;
    esac
    connection=0
    request "$address" "$1" || connection=$?
    status=$(sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' "$private/headers" | tail -n 1)
    case $status:${address%%\?*} in
      *:*/sm/password)
        [ -z "$authed" ] || fail "$link_shown asks for its password again; check it in a browser"
        answer_password "$1"
        authed=yes
        address=$link_url
        ;;
      30[12378]:*)
        location=$(header location)
        [ -n "$location" ] || fail "$link_shown leads nowhere; use the full share link instead"
        location=$(beside "$address" "$location")
        case ${location%%\?*}/ in
          *://*/login/*) [ "$link_kind" = url ] || fail "$link_shown asks to log in: it is not shared with everybody who has the link; change that, or make a new link" ;;
        esac
        if [ "$link_kind" = redirector ]; then
          read_link "$location"
          location=$link_url
        fi
        address=$location
        ;;
      2[0-9][0-9]:*)
        look_at_answer "$1"
        return 0
        ;;
      *)
        refuse_status
        return 0
        ;;
    esac
  done
}

# What a status of failure means.
refuse_status() {
  case $status in
    '') outcome='the server does not answer' ;;
    404 | 410) fail "$link_shown is gone ($status): deleted, moved, or mistyped; make a new link and use that" ;;
    400 | 401 | 403 | 460) fail "$link_shown may not be read ($status): it has expired, is restricted, or its rlkey=... is missing; make a new link and use that" ;;
    429 | 509)
      pause=$(header retry-after)
      case $pause in
        [0-9] | [1-5][0-9] | 60) outcome='the server asks to wait' ;;
        *) fail "the traffic of $link_shown is used up ($status); try again later, or share it elsewhere" ;;
      esac
      ;;
    408 | 425 | 5??)
      outcome="the server answers with an error ($status)"
      ;;
    *) fail "$link_shown cannot be fetched: the server answers $status; check the link in a browser" ;;
  esac
}

# look_at_answer FILE: is it whole, and is it what the link promises? An error is often a web page with status 200.
look_at_answer() {
  [ -e "$1" ] || : >"$1"
  expected=$(header content-length)
  if [ -z "$expected" ]; then
    expected=$(header x-dropbox-content-length)
  fi
  if [ "$connection" -ne 0 ]; then
    outcome='the connection ended too early'
    return 0
  elif [ -n "$expected" ] && [ "$expected" != "$(($(wc -c <"$1")))" ]; then
    outcome="the connection ended after $(($(wc -c <"$1"))) of $expected bytes"
    return 0
  fi
  refuse_page "$1"
  answer_name=$(header content-disposition | disposition_name)
  if [ -z "$answer_name" ]; then
    answer_name=$link_name
  fi
  answer_is_folder=
  if [ "$link_kind" = folder ]; then
    own=$(file_name "${link_url%%\?*}")
    case $address in
      */zip_download_get/*) answer_is_folder=yes ;;
      */cd/0/get/*) ;;
      *)
        if is_zip "$1" && [ "$own" != "$answer_name" ]; then
          answer_is_folder=yes
        fi
        ;;
    esac
  fi
  outcome=whole
}

# refuse_page FILE: end the step when a web page came in place of the content.
refuse_page() {
  type=$(header content-type | tr '[:upper:]' '[:lower:]')
  disposition=$(header content-disposition | tr '[:upper:]' '[:lower:]')
  begins=no
  if dd if="$1" bs=512 count=1 2>/dev/null | tr -d '\000' | grep -Eiq '^[[:space:]]*(<!doctype html|<html)'; then
    begins=yes
  fi
  case $link_kind:${link_url%%\?*} in
    url:*.html | url:*.htm | url:*.HTML | url:*.HTM) return 0 ;;
  esac
  case $link_kind:$begins:$type:$disposition in
    folder:yes:*) ;;
    *:*:*:*attachment*) return 0 ;;
    *:*:text/html*:*)
      if is_zip "$1"; then
        return 0
      fi
      ;;
    *) return 0 ;;
  esac
  page=$(dd if="$1" bs=65536 count=1 2>/dev/null | tr -d '\000' | tr '\n' ' ')
  if [ "$link_kind" != url ]; then
    ! says 'too (large|big)|exceeds? .*(size|limit)' || fail "$link_shown is larger than Dropbox puts into one zip (20 GB); share its subfolders by links of their own"
    ! says 'too many (files|items|entries)' || fail "$link_shown has more files than Dropbox puts into one zip (10,000); share its subfolders by links of their own"
    ! says 'traffic|bandwidth|temporarily disabled|banned' || fail "$link_shown is switched off for today: the traffic of its account is used up"
    ! says 'enter the password|password required' || fail "$link_shown needs a password; store it as a secret and add --password secret:NAME"
    ! says '<title>[^<]*(log|sign) ?in|name=.login_email' || fail "$link_shown asks to log in: it is not shared with everybody who has the link; change that, or make a new link"
  fi
  fail "$link_shown answers with a web page, not with a file; open it in a browser to see what it says"
}

# says PATTERN: whether the page does.
says() {
  printf '%s' "$page" | grep -Eiq "$1"
}

# is_zip FILE: whether it begins as a zip does.
is_zip() {
  case $(dd if="$1" bs=4 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n') in
    504b0304 | 504b0506) return 0 ;;
  esac
  return 1
}

# header NAME: print the answer's header of that name (in lower case).
header() {
  tr -d '\r' <"$private/headers" | LC_ALL=C awk -v name="$1:" '
    { sub(/^ +/, "") }
    tolower(substr($0, 1, length(name))) == name {
      found = substr($0, length(name) + 1)
      sub(/^[ \t]+/, "", found)
    }
    END { print found }'
}

# Print the file's name in a Content-Disposition (RFC 6266: filename* wins).
disposition_name() {
  read -r disposition || :
  name=$(printf '%s' "$disposition" | sed -n "s/.*; *[Ff]ile[Nn]ame\\*= *\"\\{0,1\\}[A-Za-z0-9-]*'[^']*'\\([^; \"]*\\).*/\\1/p" | decode)
  if [ -z "$name" ]; then
    name=$(printf '%s' "$disposition" | sed -n -e 's/.*; *[Ff]ile[Nn]ame= *"\(\([^"\\]\|\\.\)*\)".*/\1/p' -e t -e 's/.*; *[Ff]ile[Nn]ame= *\([^; "]*\).*/\1/p')
  fi
  plain_name "$name"
}

# beside ADDRESS LOCATION: print where a redirect from ADDRESS leads.
beside() {
  scheme=${1%%://*}
  origin=$scheme://$(printf '%s' "${1#*://}" | sed 's|[/?].*||')
  case $2 in
    http://* | https://*) printf '%s' "$2" ;;
    //*) printf '%s' "$scheme:$2" ;;
    /*) printf '%s' "$origin$2" ;;
    *) printf '%s' "${1%/*}/$2" ;;
  esac
}

# request ADDRESS FILE [FORM]: ask for ADDRESS once, following nothing. With FORM, a file, that is sent (POST).
request() {
  : >"$private/headers"
  quoted=$(printf '%s' "$1" | sed -e 's/"/%22/g' -e 's/\\/%5C/g' -e 's/ /%20/g')
  # What is on this machine is asked past every proxy, which would see the link's key.
  direct=127.0.0.1,localhost,::1,${no_proxy:-${NO_PROXY-}}
  if command -v curl >/dev/null 2>&1; then
    {
      printf 'url = "%s"\n' "$quoted"
      [ -z "${3-}" ] || printf 'data-binary = "@%s"\n' "$3"
    } | no_proxy=$direct curl -q --config - --silent --globoff --proto '=http,https' --max-redirs 0 --connect-timeout 15 \
      --speed-limit 1 --speed-time 60 --user-agent colab-magics --remote-time \
      --cookie "$private/cookies" --cookie-jar "$private/cookies" --dump-header "$private/headers" --output "$2"
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
  [ -n "$password" ] || fail "$link_shown needs a password; store it as a secret and add --password secret:NAME"
  case $address in
    "$base"/* | https://www.dropbox.com/* | https://dropbox.com/*) ;;
    *) fail "$link_shown asks for its password on another site; it was not sent, open it in a browser" ;;
  esac
  content=
  case $address in
    *[?\&]content_id=*)
      content=${address#*[?&]content_id=}
      content=${content%%&*}
      ;;
  esac
  token=$(awk '$6 == "t" { print $7 }' "$private/cookies" | tail -n 1)
  encoded=$(printf '%s' "$password" | encode)
  shared=$(printf '%s' "${link_known#https://www.dropbox.com}" | encode)
  rm -f "$private/form"
  (umask 077 && printf 'is_xhr=true&t=%s&content_id=%s&password=%s&url=%s' "$token" "$content" "$encoded" "$shared" >"$private/form")
  connection=0
  request "$(beside "$address" /sm/auth)" "$1" "$private/form" || connection=$?
  rm -f "$private/form"
  grep -Eq '"status": *"authed"' "$1" || fail "$link_shown does not accept its password; check it in a browser"
}
