# What bash completes to, one candidate a line: bash completion.bash SCRIPT WORD...
# The words are as bash splits a line, which is at "=" too; the last is the one that TAB is pressed in.
# shellcheck disable=SC1090
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
"$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
