// SPDX-License-Identifier: Apache-2.0
// What a person wants beside a run, as one word that no login shell on the way can take apart.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::host {

/// Where the runner that reads an order is. The script may be further in, and then the order is handed on.
enum class Stand {
  outside,    ///< on the host that has the run's folder
  job,        ///< in the run's Slurm job
  container,  ///< in the script's container
};

struct EnterOrder {
  std::filesystem::path folder;        ///< of the run
  std::vector<std::string> argv = {};  ///< the program; empty: a shell
  int rank = 0;                        ///< whose place it is
  int port = 0;                        ///< not 0: no program, stdin and stdout are a connection to 127.0.0.1:port
  bool stays = false;                  ///< as the program's parent: its death by signal n becomes the exit code 128 + n
  Stand stand = Stand::outside;
};

/// In hexadecimal digits.
std::string enter_word(const EnterOrder& order);
std::optional<EnterOrder> read_enter_word(std::string_view word);

}  // namespace trainctl::host
