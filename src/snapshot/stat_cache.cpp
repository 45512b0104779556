// SPDX-License-Identifier: Apache-2.0
#include "snapshot/stat_cache.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "snapshot/bytes.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/scan.hpp"

namespace trainctl::snapshot {
namespace {

constexpr std::string_view kMagic = "TCSTAT1\n";
constexpr std::size_t kHead = 8 + 8 + 8 + 32;
constexpr std::size_t kRecord = 72;
constexpr std::int64_t kSecond = 1'000'000'000;

/// Finds damage, not attacks; four lanes, because this runs over megabytes at each snapshot.
std::uint64_t checksum(std::string_view data) {
  constexpr std::uint64_t kPrime = 0x9E3779B97F4A7C15U;
  std::array<std::uint64_t, 4> lanes = {data.size(), 1, 2, 3};
  std::size_t at = 0;
  for (; at + 32 <= data.size(); at += 32) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      lanes[lane] = (lanes[lane] ^ get<std::uint64_t>(data, at + lane * 8)) * kPrime;
      lanes[lane] ^= lanes[lane] >> 29U;
    }
  }
  for (; at < data.size(); ++at) lanes[0] = (lanes[0] ^ static_cast<unsigned char>(data[at])) * kPrime;
  std::uint64_t sum = 0;
  for (const std::uint64_t lane : lanes) sum = (sum ^ lane ^ (lane >> 32U)) * kPrime;
  return sum;
}

}  // namespace

StatCache StatCache::load(const std::filesystem::path& path) {
  StatCache cache;
  auto data = base::read_file_if_exists(path);
  if (!data || !*data) return cache;
  std::string& text = **data;
  if (text.size() < kHead || !text.starts_with(kMagic)) return cache;
  const auto count = get<std::uint64_t>(text, 16);
  if (count > (text.size() - kHead) / kRecord) return cache;
  if (get<std::uint64_t>(text, 8) != checksum(std::string_view(text).substr(16))) return cache;
  cache.data_ = std::move(text);
  cache.count_ = count;
  std::memcpy(cache.manifest_.data(), cache.data_.data() + 24, 32);
  return cache;
}

std::string_view StatCache::path_at(std::size_t record) const {
  const std::size_t at = kHead + record * kRecord;
  const std::size_t begin = kHead + count_ * kRecord + get<std::uint32_t>(data_, at + 64);
  const std::size_t length = get<std::uint32_t>(data_, at + 68);
  if (begin + length > data_.size()) return {};
  return std::string_view(data_).substr(begin, length);
}

const Hash* StatCache::next(const ScanEntry& file) {
  int order = -1;
  for (; at_ < count_; ++at_) {
    order = path_at(at_).compare(file.entry.path);
    if (order >= 0) break;
  }
  if (order != 0 || at_ >= count_) return nullptr;
  const std::size_t record = kHead + at_ * kRecord;
  if (get<std::uint64_t>(data_, record) != file.entry.size || get<std::int64_t>(data_, record + 8) != file.mtime_ns ||
      get<std::int64_t>(data_, record + 16) != file.ctime_ns || get<std::uint64_t>(data_, record + 24) != file.inode) {
    return nullptr;
  }
  std::memcpy(found_.data(), data_.data() + record + 32, 32);
  return &found_;
}

void StatCacheWriter::add(const ScanEntry& file) {
  put(records_, file.entry.size);
  put(records_, file.mtime_ns);
  put(records_, file.ctime_ns);
  put(records_, file.inode);
  put(records_, file.entry.hash);
  put(records_, static_cast<std::uint32_t>(paths_.size()));
  put(records_, static_cast<std::uint32_t>(file.entry.path.size()));
  paths_ += file.entry.path;
  ++count_;
}

std::string StatCacheWriter::finish(const Hash& manifest) && {
  std::string body;
  body.reserve(kHead + records_.size() + paths_.size());
  put(body, count_);
  put(body, manifest);
  body += records_;
  body += paths_;
  std::string text(kMagic);
  text.reserve(body.size() + 16);
  put(text, checksum(body));
  text += body;
  return text;
}

std::int64_t coarse_now_ns() {
#ifdef CLOCK_REALTIME_COARSE
  constexpr clockid_t kClock = CLOCK_REALTIME_COARSE;
#else
  constexpr clockid_t kClock = CLOCK_REALTIME;
#endif
  timespec now{};
  ::clock_gettime(kClock, &now);
  return static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

bool is_settled(const ScanEntry& file, std::int64_t read_began_ns, std::int64_t slack_ns) {
  // Whole seconds in both: perhaps a file system that keeps no fractions (two seconds on FAT).
  const bool whole = file.mtime_ns % kSecond == 0 && file.ctime_ns % kSecond == 0;
  return std::max(file.mtime_ns, file.ctime_ns) < read_began_ns - std::max(slack_ns, whole ? 2 * kSecond : 0);
}

}  // namespace trainctl::snapshot
