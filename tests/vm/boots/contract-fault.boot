# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
description="mapping that fails for want of memory, at every allocation it makes"
memory=1G
devices=(-device edu)
programs=(tests/vm/contract-fault)
time_limit=180
