// SPDX-License-Identifier: Apache-2.0
#include "host/enter/order.hpp"

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/hash.hpp"
#include "base/hex.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kFixed = 5;  ///< folder, stays, stand, port, rank; then the words of the program
constexpr int kHighestPort = 65535;
constexpr int kHighestRank = 1'000'000;

/// Texts, each ended by a zero byte, in hexadecimal digits.
std::optional<std::vector<std::string>> read_texts(std::string_view word) {
  std::vector<std::string> texts(1);
  const auto bytes = base::from_hex(word);
  if (!bytes) return std::nullopt;
  for (const char byte : *bytes) {
    if (byte == '\0') {
      texts.emplace_back();
    } else {
      texts.back() += byte;
    }
  }
  if (!texts.back().empty()) return std::nullopt;
  texts.pop_back();
  return texts;
}

std::optional<int> read_number(const std::string& text, int highest) {
  int number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0 || number > highest) return std::nullopt;
  return number;
}

}  // namespace

std::string enter_word(const EnterOrder& order) {
  std::string bytes = order.folder.string() + '\0' + (order.stays ? '1' : '0') + '\0' +
                      std::to_string(static_cast<int>(order.stand)) + '\0' + std::to_string(order.port) + '\0' +
                      std::to_string(order.rank) + '\0';
  for (const std::string& word : order.argv) bytes += word + '\0';
  return base::to_hex(bytes);
}

std::optional<EnterOrder> read_enter_word(std::string_view word) {
  const auto texts = read_texts(word);
  if (!texts || texts->size() < kFixed) return std::nullopt;
  const auto stays = read_number((*texts)[1], 1);
  const auto stand = read_number((*texts)[2], static_cast<int>(Stand::container));
  const auto port = read_number((*texts)[3], kHighestPort);
  const auto rank = read_number((*texts)[4], kHighestRank);
  if (!stays || !stand || !port || !rank) return std::nullopt;
  return EnterOrder{.folder = texts->front(),
                    .argv = {texts->begin() + kFixed, texts->end()},
                    .rank = *rank,
                    .port = *port,
                    .stays = *stays == 1,
                    .stand = static_cast<Stand>(*stand)};
}

}  // namespace trainctl::host
