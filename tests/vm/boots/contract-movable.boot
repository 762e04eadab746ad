# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
description="the same, where most memory is to stay movable"
memory=3G
devices=(-device edu)
cmdline="movablecore=2G"
programs=(tests/vm/contract-movable)
time_limit=60
