
# Paths in images.
_rump_or_path() {
    local cut=${COMP_LINE:0:COMP_POINT} found
    if found=$(command rump completions bash "--breaks=$COMP_WORDBREAKS" "--word=$cut" 2>/dev/null); then
        compopt -o nospace -o nosort +o default +o bashdefault
        COMPREPLY=()
        [[ -z $found ]] || mapfile -t COMPREPLY <<<"$found"
    else
        _rump "$@"
    fi
}
complete -F _rump_or_path -o bashdefault -o default rump
