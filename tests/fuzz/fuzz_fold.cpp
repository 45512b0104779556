// SPDX-License-Identifier: Apache-2.0
// The fold: the files of a run, cut and spliced at any byte, fold to some state; a line that is not whole changes
// nothing; an end, once there, stays whatever follows it.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "format/event.hpp"
#include "format/fold.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trainctl;
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t cut = (data[0] * std::size_t{257} + data[1]) % (text.size() + 1);
  std::size_t consumed = 0;
  format::RunLines lines;
  lines.attempt = 1 + data[0] % 3;
  lines.events = format::parse_lines(text.substr(0, cut), &consumed);
  if (consumed > cut) std::abort();
  const format::RunState before = format::fold(lines);
  // What follows the last newline does not exist.
  format::RunLines whole = lines;
  whole.events = format::parse_lines(text.substr(0, consumed));
  if (format::fold(whole).state != before.state) std::abort();
  // Reading on from there is reading all.
  const auto rest = format::parse_lines(text.substr(consumed));
  for (const Json& line : rest) lines.events.push_back(line);
  const format::RunState after = format::fold(lines);
  if (after.state != format::fold({.attempt = lines.attempt,
                                   .events = format::parse_lines(text),
                                   .earlier_events = {},
                                   .clients = {},
                                   .requests = {}})
                         .state)
    std::abort();
  if (format::is_terminal(before.state) && after.state != before.state) std::abort();
  format::RunLines clients;
  clients.clients.push_back(format::parse_lines(text));
  for (const Json& line : clients.clients.front())
    clients.requests.emplace("r" + std::to_string(clients.requests.size()), line);
  clients.earlier_events = rest;
  (void)format::fold(clients);
  return 0;
}
