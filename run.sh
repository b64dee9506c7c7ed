#!/usr/bin/env bash
# The one entrance. Makes its own virtual environment in .venv the first time; more is installed only when told to.
set -euo pipefail
cd "$(dirname "$0")"

# In Chinese where the locale is.
usage() {
  case "${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}" in zh*) usage_zh ;; *) usage_en ;; esac
}

usage_en() {
  cat <<'TEXT'
emotion-stream: the emotion of speech, while it is being spoken.

  ./run.sh [--host H] [--port P] [--model NAME] [--device D] [--config FILE]
                          serve: the live page, the socket, REST and metrics (http://127.0.0.1:7860)
  ./run.sh demo [FILE]    stream a recording through the real socket and draw the answers in the terminal
  ./run.sh analyze PATH…  score recordings or folders (--granularity utterance|frame, --json)
  ./run.sh analyze DIR --out DIR
                          a folder → one table of all utterances; resumable (--table csv|parquet, --each, --embeddings)
  ./run.sh tools trend|similar|cluster|board|teach|report|rules …
                          questions about a folder of results, a map of it, labels of your own (docs/tools.md)
  ./run.sh evaluate DATA  measure a model on labeled recordings, a manifest or a folder per label (docs/evaluate.md)
  ./run.sh compare DIR DIR
                          two evaluations of the same recordings: which model is better (docs/evaluate.md)
  ./run.sh corpora        public corpora of labeled speech; a manifest of those that you have (docs/evaluate.md)
  ./run.sh mcp            recordings and sessions for assistants: the Model Context Protocol (docs/mcp.md)
  ./run.sh train --out DIR
                          make weights of compact from labeled speech of yours (training/README.md)
  ./run.sh models         list the models that can be chosen
  ./run.sh verify-model NAME|DIR
                          compare an emotion2vec model with funasr and with published scores
  ./run.sh export NAME|DIR
                          write compact or an emotion2vec model as ONNX, with its head (docs/platforms.md)
  ./run.sh install [tools] [emotion2vec] [torch] [export] [ray] [redis] [mcp]
                          install what has changed, and what is needed on top: by some tools, by an emotion2vec
                          model, by compact on a GPU, by engine.kind: ray, by redis.url,
                          by mcp
  ./run.sh test [ARGS…]   install what the tests need (torch, too) and run them all; with ARGS, pytest with these
  ./run.sh check          lint, formatting and types
  ./run.sh --help         this text; `./run.sh COMMAND --help` for one command

Every setting is in config.yaml, and can be given as an environment variable: EMOTION_SERVER__PORT=8080.
TEXT
}

usage_zh() {
  cat <<'TEXT'
emotion-stream：边说边识别语音中的情绪。

  ./run.sh [--host H] [--port P] [--model NAME] [--device D] [--config FILE]
                          启动服务器：实时页面、Socket、REST 和指标（http://127.0.0.1:7860）
  ./run.sh demo [FILE]    通过真实的 Socket 播放一段录音，并在终端里画出结果
  ./run.sh analyze PATH…  为录音或文件夹评分（--granularity utterance|frame、--json）
  ./run.sh analyze DIR --out DIR
                          文件夹 → 含全部语句的一张表；可中断后继续（--table csv|parquet、--each、--embeddings）
  ./run.sh tools trend|similar|cluster|board|teach|report|rules …
                          对结果文件夹提问、查看分布图，以及自定义标签（docs/tools.zh.md）
  ./run.sh evaluate DATA  用带标签的录音（清单，或每个标签一个文件夹）评测模型（docs/evaluate.md）
  ./run.sh compare DIR DIR
                          对同一批录音的两次评测：哪个模型更好（docs/evaluate.md）
  ./run.sh corpora        公开的带标签语音语料库；为您已有的语料库生成清单（docs/evaluate.md）
  ./run.sh mcp            供智能助手使用的录音和会话：模型上下文协议 MCP（docs/mcp.zh.md）
  ./run.sh train --out DIR
                          用您的带标签语音训练 compact 的权重（training/README.md）
  ./run.sh models         列出可选的模型
  ./run.sh verify-model NAME|DIR
                          把 emotion2vec 模型与 funasr 及公开的得分相比较
  ./run.sh export NAME|DIR
                          把 compact 或 emotion2vec 模型连同输出层写成 ONNX（docs/platforms.zh.md）
  ./run.sh install [tools] [emotion2vec] [torch] [export] [ray] [redis] [mcp]
                          安装有变化的依赖，以及某些工具、emotion2vec 模型、在 GPU 上运行 compact、engine.kind: ray、redis.url 或 mcp
                          另外需要的依赖
  ./run.sh test [ARGS…]   安装测试所需并运行全部测试；给出 ARGS 时，以它们运行 pytest
  ./run.sh check          代码检查、格式和类型
  ./run.sh --help         本说明；`./run.sh COMMAND --help` 查看单个命令

全部设置都在 config.yaml 中，也可以用环境变量给出：EMOTION_SERVER__PORT=8080。
TEXT
}

say() { printf '%s\n' "$*" >&2; }

wanted() { cat requirements*.txt | cksum; }

# The virtual environment, made where there is none.
environment() {
  [ -x .venv/bin/python ] && return
  local python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    say "Python 3.11 or newer is needed, as python3 or named by PYTHON=…"; exit 1; }
  say "Making a virtual environment in .venv …"
  "$python" -m venv .venv || { say "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
}

pip() { .venv/bin/python -m pip "$@" --disable-pip-version-check; }

# Python compiles what it imports by itself: doing so for all that is installed takes a third of the time.
install() { pip install --quiet --no-compile "$@"; }

# torch, where it is missing on a Linux without a GPU of NVIDIA's: PyPI's would bring gigabytes of CUDA along.
cpu_torch() {
  environment
  [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1 || return 0
  pip show --quiet torch 2>/dev/null && return
  local builds=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu} torch
  torch=$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements-torch.txt)
  say "No NVIDIA GPU is found here: installing the CPU build of $torch into .venv …"
  # Where pip is set to look, then where PyTorch keeps its builds.
  install --no-deps "$torch+cpu" 2>/dev/null && return
  install --no-deps --extra-index-url "$builds" "$torch+cpu" && return
  say "It could not be had from $builds. Another place that has it: TORCH_INDEX=URL ./run.sh …"
  say "PyPI's build, with gigabytes of CUDA: .venv/bin/python -m pip install $torch"
  exit 1
}

# ensure FILE: a virtual environment that holds what FILE lists. A stamp remembers what was installed.
ensure() {
  local stamp=.venv/.installed-${1%.txt}
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && return
  environment
  case $1 in *torch* | *emotion2vec* | *dev*) cpu_torch ;; esac
  say "Installing $1 into .venv (once) …"
  install -r "$1"
  wanted >"$stamp"
}

# What serving compact needs. Once it is there, only `install`, `test` and `check` change it.
base() {
  local stamp=.venv/.installed-requirements-light
  [ -f "$stamp" ] || { ensure requirements-light.txt; return; }
  [ "$(cat "$stamp")" = "$(wanted)" ] ||
    say "The requirements have changed since .venv was made: ./run.sh install brings it up to date."
}

case ${1:-} in
  -h | --help | help) usage ;;
  install)
    shift
    for part in "$@"; do
      [ -f "requirements-$part.txt" ] || { say "There is nothing to install of that name: $part"; exit 2; }
    done
    ensure requirements-light.txt
    for part in "$@"; do ensure "requirements-$part.txt"; done
    ;;
  test)
    shift
    ensure requirements-dev.txt
    if [ $# -gt 0 ]; then exec .venv/bin/python -m pytest "$@"; fi
    exec .venv/bin/python -m tests.everything
    ;;
  check)
    ensure requirements-dev.txt
    exec .venv/bin/python -m tests.everything check
    ;;
  "" | -*)
    base
    exec .venv/bin/python -m cli serve "$@"
    ;;
  *)
    base
    exec .venv/bin/python -m cli "$@"
    ;;
esac
