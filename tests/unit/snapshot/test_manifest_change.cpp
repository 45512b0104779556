// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "snapshot/manifest.hpp"
#include "snapshot/manifest_change.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;

namespace {

using Entries = std::vector<ManifestEntry>;

ManifestEntry file(std::string path, std::uint64_t content) {
  return {.mode = 0644, .size = content, .hash = hash_bytes(std::to_string(content)), .path = std::move(path)};
}

/// Files, links and folders in several folders, some with names that have to be written in another way.
Entries some_tree(std::mt19937& random, std::size_t count) {
  Entries entries;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string path = "d" + std::to_string(random() % 7) + (random() % 9 == 0 ? "\n" : "") + "/f" +
                             std::to_string(random() % (4 * count));
    switch (random() % 8) {
      case 0:
        entries.push_back({.type = EntryType::link, .path = path, .target = "../" + std::to_string(random() % 3)});
        break;
      case 1:
        entries.push_back({.type = EntryType::directory, .mode = 0755, .path = path});
        break;
      default:
        entries.push_back(file(path, random() % 1000));
    }
  }
  std::sort(entries.begin(), entries.end(), comes_before);
  const auto same = [](const ManifestEntry& a, const ManifestEntry& b) { return !comes_before(a, b); };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
  return entries;
}

Entries changed(std::mt19937& random, const Entries& before) {
  Entries after;
  for (const ManifestEntry& entry : before) {
    const auto what = random() % 20;
    if (what == 0) continue;
    after.push_back(entry);
    if (what == 1 && entry.type == EntryType::file) after.back().hash = hash_bytes("changed");
    if (what == 2 && entry.type == EntryType::file) after.back().mode = 0755;
  }
  for (const ManifestEntry& entry : some_tree(random, before.size() / 20)) after.push_back(entry);
  std::stable_sort(after.begin(), after.end(), comes_before);
  const auto same = [](const ManifestEntry& a, const ManifestEntry& b) { return !comes_before(a, b); };
  after.erase(std::unique(after.begin(), after.end(), same), after.end());
  return after;
}

}  // namespace

TEST_CASE("what is new in a manifest is what the other one has not") {
  std::mt19937 random(20261130);  // NOLINT: the same trees each time
  for (int round = 0; round < 200; ++round) {
    const Entries before = some_tree(random, 1 + random() % 300);
    const Entries after = round % 10 == 0 ? some_tree(random, 50) : changed(random, before);
    const auto change = parse_change(manifest_text(after), manifest_text(before));
    REQUIRE(change);
    Entries wanted;
    std::uint64_t kept = 0;
    for (const ManifestEntry& entry : after) {
      if (std::find(before.begin(), before.end(), entry) == before.end()) {
        wanted.push_back(entry);
      } else {
        kept += entry.size;
      }
    }
    CHECK(change->added == wanted);
    CHECK(change->bytes_kept == kept);
  }
}

TEST_CASE("a manifest without a base is read as a whole") {
  std::mt19937 random(1);  // NOLINT: the same tree each time
  const Entries entries = some_tree(random, 100);
  for (const std::string_view base : {std::string_view(), kManifestHeader, std::string_view("something else\nf 644")}) {
    const auto change = parse_change(manifest_text(entries), base);
    REQUIRE(change);
    CHECK(change->added == entries);
    CHECK(change->bytes_kept == 0);
  }
}

TEST_CASE("damaged, unsafe and unordered lines are found, whatever the base has") {
  std::mt19937 random(2);  // NOLINT: the same tree each time
  const Entries entries = some_tree(random, 60);
  const std::string good = manifest_text(entries);
  const auto refused = [&good](const std::string& text) {
    const auto change = parse_change(text, good);
    return !change && change.error().code == Errc::store && !parse_manifest(text);
  };
  for (int round = 0; round < 300; ++round) {
    std::string text = good;
    const std::size_t at = kManifestHeader.size() + random() % (text.size() - kManifestHeader.size());
    text[at] = static_cast<char>(random() % 256);
    INFO(at << " " << static_cast<int>(text[at]));
    CHECK(parse_manifest(text).has_value() == parse_change(text, good).has_value());
  }
  Entries swapped = entries;
  std::swap(swapped[10], swapped[11]);
  CHECK(refused(manifest_text(swapped)));
  Entries twice = entries;
  twice.insert(twice.begin() + 20, entries[20]);
  CHECK(refused(manifest_text(twice)));
  Entries outside = entries;
  outside.insert(outside.begin(), file("../x", 1));
  CHECK(refused(manifest_text(outside)));
  CHECK(refused(good.substr(0, good.size() - 1)));
  CHECK(refused("trainctl-manifest 2\n"));
  CHECK(refused(""));
}
