#!/usr/bin/env bash
# Asks Placet's sidecar with curl and jq: `decide.sh ACTION TYPE ID` prints "allow", or "deny CODE" with exit code 3.
# PLACET_CA names the sidecar's ca.pem, PLACET_TOKEN_FILE the caller's token, PLACET_URL the sidecar if it is elsewhere.
set -euo pipefail

deny() {
  echo "deny $1"
  exit 3
}

# The token goes in by a file and out by a pipe: arguments are visible to every process of the machine.
input='{input: {identity: {token: ($token | rtrimstr("\n"))}, action: {name: $action},
                resource: {type: $type, id: $id}, context: {}}}'
body=$(jq --null-input --compact-output --rawfile token "$PLACET_TOKEN_FILE" \
  --arg action "$1" --arg type "$2" --arg id "$3" "$input") || deny request.malformed

# -q: no ~/.curlrc. --noproxy and --cacert: nothing from the environment. No --location: no redirects.
answer=$(curl -q --silent --proto =https --noproxy '*' --cacert "$PLACET_CA" --max-time 2 --max-filesize 1048576 \
  --header 'Content-Type: application/json' --data-binary @- --write-out '\n%{http_code}' \
  "${PLACET_URL:-https://127.0.0.1:8181}/v1/data/placet/decision" <<<"$body") || deny sidecar.unreachable

case ${answer##*$'\n'} in
  200) ;;
  400) deny request.malformed ;;
  # A number that OPA refuses before it evaluates anything is status 500, too.
  500) [[ $answer == *'"message": "invalid number:'* ]] && deny request.malformed || deny evaluation.error ;;
  *) deny decision.malformed ;;
esac

# Only a whole allow allows. This caller fulfils no obligations.
read_result='
  def whole: (.reasons | type == "array") and all(.reasons[]; .code | startswith("policy:"))
    and (.subject | type == "object") and (.state | type == "string") and (.expires_at | type == "string");
  if length != 1 or (.[0] | type != "object") then "decision.malformed"
  elif .[0].result == null then "decision.undefined"
  else .[0].result
    | if .allow == false then .reasons[0].code // "decision.malformed"
      elif .allow != true or (whole | not) or (.obligations | type != "array") then "decision.malformed"
      elif .obligations != [] then "obligation.unfulfilled"
      else "allow" end
  end'
verdict=$(jq --raw-output --slurp "$read_result" <<<"${answer%$'\n'*}") || deny decision.malformed
if [[ $verdict != allow ]]; then deny "$verdict"; fi
echo allow
