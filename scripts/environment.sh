# The project's own Python environment in .venv: made once, renewed when pyproject.toml changes. Sourced, never run.
#
# A script sets ROOT (the repository's absolute path) and calls `ensure_environment run`, `dev` or `frameworks`.
# Written for bash 3.2 (macOS) and later. Everything printed goes to standard error.

VENV="$ROOT/.venv"

say() { printf '%s\n' "$@" >&2; }

die() {
    say "$@"
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Prints the first Python that can make an environment, or explains what is missing.
find_python() {
    local candidate without_venv=""
    for candidate in python3.13 python3.12 python3.11 python3; do
        is_new_enough "$candidate" || continue
        if command -v uv >/dev/null 2>&1 || "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv="${without_venv:-$candidate}"
    done
    if [ -n "$without_venv" ]; then
        local version
        version="$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
        die "Python $version is here, but its venv module is not, so no environment can be made." \
            "On Debian, Ubuntu and Raspberry Pi OS: sudo apt-get install python$version-venv"
    fi
    die "Roost needs Python 3.11, 3.12 or 3.13, and none of python3.13, python3.12, python3.11, python3 is one." \
        "Debian 12 and later, Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv; macOS: brew install python@3.12"
}

# An environment that was moved, half made, or made by a Python that is gone is of no use.
is_usable() {
    is_new_enough "$VENV/bin/python" || return 1
    command -v uv >/dev/null 2>&1 || "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    [ ! -f "$VENV/.roost-root" ] || [ "$(cat "$VENV/.roost-root")" = "$ROOT" ]
}

make_environment() {
    local python
    python="$(find_python)" || exit 1
    say "making $VENV with $("$python" --version 2>&1)"
    rm -rf "$VENV"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "$(command -v "$python")" "$VENV" >&2 || die "uv could not make $VENV"
    else
        "$python" -m venv "$VENV" >&2 || die "python3 -m venv could not make $VENV; its message is above"
    fi
    printf '%s\n' "$ROOT" >"$VENV/.roost-root"
}

# install_project WHAT, where WHAT is what pip understands, such as ROOT[dev]. Silent unless it fails.
install_project() {
    local output
    say "installing Roost and what it needs (once, and again when pyproject.toml changes)"
    if command -v uv >/dev/null 2>&1; then
        output="$(uv pip install --quiet --python "$VENV/bin/python" --editable "$1" 2>&1)"
    else
        output="$("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$1" 2>&1)"
    fi || die "$output" "The installation failed; why is above. It needs the network, or an index that pip is told of."
}

# install_older: the last safetensors that writes files in place, in a folder of its own, for one test.
install_older() {
    local output
    if command -v uv >/dev/null 2>&1; then
        output="$(uv pip install --quiet --python "$VENV/bin/python" --no-deps --target "$VENV/older" 'safetensors<0.8' 2>&1)"
    else
        output="$("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --no-deps \
            --target "$VENV/older" 'safetensors<0.8' 2>&1)"
    fi || die "$output" "The installation of an older safetensors failed; why is above."
}

# install_axe: axe-core, which looks at the page for people who see or hear it otherwise. Without npm, or where it does not
# answer, that test is skipped and says so.
install_axe() {
    command -v npm >/dev/null 2>&1 || return 0
    mkdir -p "$VENV/axe-core"
    (cd "$VENV/axe-core" && npm pack --silent axe-core@4 >/dev/null 2>&1 && tar -xzf axe-core-*.tgz && rm -f axe-core-*.tgz) ||
        say "axe-core could not be brought by npm: the test that needs it is skipped"
}

# ensure_environment run|dev|frameworks: on return .venv holds Roost as pyproject.toml asks, with the developer's tools
# for `dev`, and for `frameworks` also the libraries whose checkpoints the slow tests store.
ensure_environment() {
    local wanted project="$ROOT"
    wanted="$(cksum <"$ROOT/pyproject.toml")" || die "cannot read $ROOT/pyproject.toml"
    if ! is_usable; then
        make_environment
    fi
    # Each holds all that those before it need.
    local kind reached=no
    for kind in run dev frameworks; do
        if [ "$kind" = "$1" ]; then
            reached=yes
        fi
        if [ "$reached" = yes ] && [ "$(cat "$VENV/.roost-$kind" 2>/dev/null)" = "$wanted" ]; then
            return
        fi
    done
    case "$1" in
        dev) project="${ROOT}[dev]" ;;
        frameworks) project="${ROOT}[dev,frameworks,browser]" ;;
    esac
    install_project "$project"
    if [ "$1" = frameworks ]; then
        install_older
        install_axe
    fi
    printf '%s\n' "$ROOT" >"$VENV/.roost-root"
    printf '%s\n' "$wanted" >"$VENV/.roost-$1"
}
