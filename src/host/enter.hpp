// SPDX-License-Identifier: Apache-2.0
// A program of a person's beside a run: in its folder, with the variables of its rank 0.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace trainctl::host {

struct EnterOrder {
  std::filesystem::path folder;        ///< of the run
  std::vector<std::string> argv = {};  ///< empty: a shell
  bool stays = false;                  ///< as the program's parent: its death by signal n becomes the exit code 128 + n
};

/// The order as one word of hexadecimal digits: it means the same to every login shell.
std::string enter_word(const EnterOrder& order);

/// Becomes the program that `word` orders, or stays as its parent and returns its exit code. A rank that lives lends
/// its very environment; else it is made from the records, without secrets. What is in the way is told on stderr: 2 no
/// order, 3 nothing to stand in, 4 no such run, 75 not begun yet, 126 and 127 as a shell says it of programs.
int enter_main(const std::string& word);

}  // namespace trainctl::host
