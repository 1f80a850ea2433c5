# Commands in a booted guest, one boot for many: sourced by the scripts that want that.
#
# `ask` as often as you like, then `run_asked`; $guest_options are words for each `distro exec`.

build_distro() { # the system, and the tool that boots it, in $distro
    (cd "$repo" && cargo build --quiet --locked -p distro &&
        cargo run --quiet --locked -p distro -- build)
    distro="${CARGO_TARGET_DIR:-$repo/target}/debug/distro"
}

# In the background it is the process itself, and its end is the machine's.
exec_guest() { # exec_guest EXEC-OPTION... COMMANDS
    cd "$repo"
    # shellcheck disable=SC2086 # the options are words
    exec "$distro" exec ${guest_options:-} "$@"
}
guest() { (exec_guest "$@"); }

begin_asking() { # begin_asking [COMMANDS]: what the guest does first
    asked=""
    commands="${1:-}
"
}
ask() { # ask NAME CODE TEXT COMMAND: what the command is to return, and what to print
    asked="$asked$1|$2|$3
"
    commands="$commands$4
Echo \"=== $1 \$?\"
"
}
answered() { # answered NAME CODE TEXT
    awk -v name="$1" '$1 == "===" { if ($2 == name) { print text; print "code " $3; exit } text = ""; next }
        { text = text $0 "\n" }' said >answer
    cat answer
    grep -qx "code $2" answer && grep -qF -- "$3" answer
}
run_asked() { # run_asked PART EXEC-OPTION...: all that was asked, and a check for each answer
    guest "${@:2}" "$commands" >said 2>said.err || tail -n 20 said said.err
    printf %s "$asked" >wanted
    while IFS='|' read -r name code text <&3; do
        check "$1: $name" answered "$name" "$code" "$text"
    done 3<wanted
}
