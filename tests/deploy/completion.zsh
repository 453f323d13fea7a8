# What zsh completes a line to, one candidate a line: zsh -f completion.zsh DIRECTORY-OF-_vmxd LINE
# An interactive zsh of its own gets the line and a TAB; its compadd prints what it is given, between << and >>.
zmodload zsh/zpty
zpty shell zsh -f -i
drain() {
  local chunk
  while zpty -r shell chunk "*$1*" && [[ $chunk != *$1* ]]; do :; done
  print -r -- "$chunk"
}
zpty -w shell "PROMPT= ; stty -echo; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -D -u"
zpty -w shell 'set_up() {
  compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
      builtin compadd "$@"
      return
    fi
    local -a hits
    builtin compadd -A hits "$@"
    builtin compadd "$@"
    local code=$?
    (( $#hits )) && print -lr -- "<<"$^hits">>"
    return code
  }
  finish() { print "<end of candi""dates>"; }
  zle -N finish
  bindkey "^X" finish
  print "<rea""dy>"
}
set_up'
drain '<ready>' >/dev/null
zpty -w -n shell "$2"$'\t\x18'
drain '<end of candidates>' | grep -o '<<.*>>' | sed 's/^<<//; s/>>$//'
