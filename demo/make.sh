#!/usr/bin/env bash
# Makes demo/conversation.wav: two espeak-ng voices, 16 kHz mono PCM16. Needs espeak-ng and sox.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
say() { espeak-ng -v "$2" -p "$3" -s "$4" -a "$5" -w "$tmp/$1.wav" "$6"; sox "$tmp/$1.wav" -r 16000 -c 1 -b 16 "$tmp/$1.r.wav" pad 0.35 0.45; }
say 1 en-us+f3 55 160 120 "Good morning, this is the service desk. How can I help you today?"
say 2 en-gb+m3 70 195 200 "I have been waiting for two weeks! Two weeks! Nobody calls me back!"
say 3 en-us+f3 45 145 110 "I am very sorry to hear that. Let me look at your order at once."
say 4 en-gb+m3 85 175 160 "Oh! It is here already? That is wonderful, thank you so much!"
sox "$tmp"/[1-4].r.wav -R conversation.wav
