// SPDX-License-Identifier: Apache-2.0
// A program of a person's beside a run: where one of its ranks is, in its folder, with the variables of that.
#pragma once

#include <string>

#include "format/plan.hpp"

namespace trainctl::host {

/// Does what `word` orders (enter_word): becomes the program or stays as its parent, or carries a connection. When the
/// script is in a Slurm job or in a container, the order goes on to there. What is in the way is told on stderr: 2 no
/// order or not possible, 3 nothing to stand in, 4 no such run, 75 not begun yet or over, 126 and 127 as a shell says
/// it of programs.
int enter_main(const std::string& word);

/// The run's own 127.0.0.1 is not the host's: connections to it have to go through enter_main.
bool has_own_loopback(const format::Plan& plan);

}  // namespace trainctl::host
