// SPDX-License-Identifier: Apache-2.0
// The gang channel from a stranger's bytes: nothing without the key is taken for a message, and what comes with it, of
// any content, is decoded or refused.
// compiled with: host/gang/codec.cpp host/gang/messages.cpp
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "host/gang/codec.hpp"
#include "host/gang/messages.hpp"

using namespace trainctl::host;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] % 64;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);  // NOLINT: the fuzzer's interface
  GangCodec lead(GangSide::lead, std::string(32, 'k'), std::string(32, 'a'));
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    lead.feed(bytes.substr(at, piece));
    const auto message = lead.next();
    if (!message) break;
    if (*message) std::abort();  // it would have had to guess the key
  }
  GangCodec node(GangSide::node, std::string(32, 'k'), std::string(32, 'b'));
  GangCodec other(GangSide::lead, std::string(32, 'k'), std::string(32, 'a'));
  other.feed(node.greeting());
  node.feed(other.greeting());
  if (!other.next() || !node.next()) std::abort();
  const auto frame = node.encode(bytes.substr(0, 4096));
  if (!frame) std::abort();
  other.feed(*frame);
  const auto told = other.next();
  if (!told || !*told || **told != bytes.substr(0, 4096)) std::abort();
  const auto report = decode_report(**told);
  if (report && !decode_report(encode(*report))) std::abort();
  const auto order = decode_order(**told);
  if (order && !decode_order(encode(*order))) std::abort();
  (void)decode_hello(**told);
  return 0;
}
