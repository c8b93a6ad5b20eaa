
# Paths in images.
_rump_or_path() {
    local found
    local -a lines found_words names
    if found=$(command rump completions zsh "--word=$QIPREFIX$PREFIX" 2>/dev/null); then
        lines=("${(@f)found}")
        found_words=("${(@)lines%%$'\t'*}")
        names=("${(@)lines#*$'\t'}")
        [[ -z $found ]] || compadd -Q -U -S '' -d names -- "${(@)found_words}"
    else
        _rump "$@"
    fi
}

