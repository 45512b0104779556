// SPDX-License-Identifier: Apache-2.0
// Uploads: put and what missing says before and after.
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/stdio/frame.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/store.hpp"
#include "stdio_client.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::stdio_test;

namespace {

constexpr std::size_t kLarge = (64U << 20U) + 1000;  // just above what is kept in part

Json object(const std::string& bytes, const char* kind = "blob") {
  return {{"sha256", base::sha256_hex(bytes)}, {"size", bytes.size()}, {"kind", kind}};
}

Json announcement(std::vector<Json> objects) {
  return {{"objects", std::move(objects)}};
}

/// An open put of the client. Data is sent as far as credit allows.
class Put {
 public:
  Put(Client& client, std::uint32_t stream, Json request = Json::object()) : client_(client), stream_(stream) {
    request["op"] = "put";
    client_.ask(stream_, request);
  }
  void announce(const Json& note) { client_.send(FrameType::note, stream_, base::dump_json(note)); }
  void data(std::string_view bytes) {
    while (!bytes.empty() && !closed_) {
      while (credit_.left() == 0 && !closed_) take(client_.answer(stream_));
      const std::string_view part = bytes.substr(0, std::min<std::size_t>({bytes.size(), credit_.left(), 100'000}));
      if (closed_) return;
      REQUIRE(credit_.take(part.size()));
      client_.send(FrameType::data, stream_, std::string(part));
      bytes.remove_prefix(part.size());
    }
  }
  /// Ends the upload and waits for the reply, or for the error.
  Json finish(FrameType expected = FrameType::reply) {
    if (!closed_) client_.send(FrameType::end, stream_, "{}");
    while (!closed_) take(client_.answer(stream_));
    INFO(last_.payload);
    CHECK(last_.type == expected);
    return *base::parse_json(last_.payload);
  }

 private:
  void take(Frame frame) {
    if (frame.type == FrameType::credit) {
      REQUIRE(credit_.grant(*decode_u32(frame.payload)));
      return;
    }
    closed_ = true;
    last_ = std::move(frame);
  }

  Client& client_;
  std::uint32_t stream_;
  CreditWindow credit_;
  bool closed_ = false;
  Frame last_;
};

std::string large_text() {
  std::string text(kLarge, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>((i * 2654435761U) >> 13U);
  return text;
}

/// A manifest of one file `data/<name>` each.
std::string manifest(const std::vector<std::pair<std::string, std::string>>& files) {
  std::vector<snapshot::ManifestEntry> entries;
  for (const auto& [path, bytes] : files) {
    entries.push_back({.type = snapshot::EntryType::file,
                       .mode = 0644,
                       .size = bytes.size(),
                       .hash = snapshot::hash_bytes(bytes),
                       .path = path});
  }
  return snapshot::manifest_text(entries);
}

Json missing(Client& client, std::uint32_t stream, const std::string& bytes) {
  return client.reply(stream, {{"op", "missing"}, {"blobs", {base::sha256_hex(bytes)}}});
}

}  // namespace

TEST_CASE("put brings a snapshot: many small files, one large, its manifest") {
  Client client;
  std::vector<std::pair<std::string, std::string>> files;
  std::vector<Json> objects;
  std::string all;
  for (int i = 100; i < 900; ++i) {
    files.emplace_back("f" + std::to_string(i), "content of " + std::to_string(i));
    objects.push_back(object(files.back().second));
    all += files.back().second;
  }
  files.emplace_back("g-empty", "");
  objects.push_back(object(""));
  const std::string big(2'000'000, 'x');  // a file of its own in the store
  files.emplace_back("h-big", big);
  objects.push_back(object(big));
  all += big;
  const std::string text = manifest(files);
  objects.push_back(object(text, "snapshot"));
  all += text;

  Put put(client, 1, {{"bytes", all.size()}});
  put.announce(announcement(objects));
  put.data(all);
  const Json reply = put.finish();
  CHECK(reply["objects"] == 803);
  CHECK(reply["bytes"] == all.size());
  const auto store = snapshot::Store::open(client.store());
  REQUIRE(store);
  CHECK(store->manifest(base::sha256_hex(text))->size() == files.size());
  const Json asked = client.reply(2, {{"op", "missing"},
                                      {"blobs", {base::sha256_hex(big), base::sha256_hex("content of 100")}},
                                      {"snapshots", {base::sha256_hex(text), std::string(64, 'a')}}});
  CHECK(asked["missing"].empty());
  CHECK(asked["snapshots"] == Json::array({std::string(64, 'a')}));
}

TEST_CASE("a byte that changed on the way is noticed and nothing of it becomes visible") {
  Client client;
  for (const std::size_t size : {std::size_t{100}, std::size_t{1'500'000}}) {
    const std::string bytes(size, 'a');
    std::string flipped = bytes;
    flipped[size / 2] = 'b';
    Put put(client, static_cast<std::uint32_t>(size));
    put.announce(announcement({object(bytes)}));
    put.data(flipped);
    const Json error = put.finish(FrameType::error);
    CHECK(error["retryable"] == true);
    CHECK(error["message"].get<std::string>().find("another hash") != std::string::npos);
    CHECK(missing(client, 3 + static_cast<std::uint32_t>(size), bytes)["missing"].size() == 1);
    CHECK(missing(client, 4 + static_cast<std::uint32_t>(size), flipped)["missing"].size() == 1);
  }
}

TEST_CASE("a manifest without its blobs is refused, and an upload that ends early") {
  Client client;
  const std::string text = manifest({{"a", "not sent"}});
  Put put(client, 1);
  put.announce(announcement({object(text, "snapshot")}));
  put.data(text);
  CHECK(put.finish(FrameType::error)["code"] == "not_found");
  Put early(client, 2);
  early.announce(announcement({object("12345")}));
  early.data("123");
  CHECK(early.finish(FrameType::error)["code"] == "invalid");
  Put unasked(client, 3);
  unasked.data("nobody announced this");
  CHECK(unasked.finish(FrameType::error)["code"] == "invalid");
  CHECK(client.reply(4, {{"op", "ping"}}).contains("mono_ns"));
}

TEST_CASE("a large blob goes on where the connection broke, and is not visible before it is whole") {
  const std::string bytes = large_text();
  Client client;
  {
    Put put(client, 1);
    put.announce(announcement({object(bytes)}));
    put.data(std::string_view(bytes).substr(0, 40U << 20U));
  }
  client.send(FrameType::cancel, 1, "");
  Json state = missing(client, 2, bytes);
  REQUIRE(state["missing"].size() == 1);
  const auto have = state["partial"][base::sha256_hex(bytes)].get<std::uint64_t>();
  CHECK(have == 40U << 20U);
  Json resumed = object(bytes);
  resumed["offset"] = have;
  Put put(client, 3);
  put.announce(announcement({resumed}));
  put.data(std::string_view(bytes).substr(have));
  CHECK(put.finish()["bytes"] == bytes.size() - have);
  state = missing(client, 4, bytes);
  CHECK(state["missing"].empty());
  CHECK(state["partial"].empty());
}

TEST_CASE("a damaged part is thrown away, the next upload begins anew") {
  const std::string bytes = large_text();
  Client client;
  const auto store = snapshot::Store::open(client.store());
  REQUIRE(store);
  const auto partial = store->partial(snapshot::hash_bytes(bytes));
  REQUIRE(base::make_directories(partial.parent_path()));
  REQUIRE(base::write_file_atomic(partial, std::string(50U << 20U, '\0')));  // as after a power loss
  Json resumed = object(bytes);
  resumed["offset"] = 50U << 20U;
  Put put(client, 1);
  put.announce(announcement({resumed}));
  put.data(std::string_view(bytes).substr(50U << 20U));
  CHECK(put.finish(FrameType::error)["retryable"] == true);
  CHECK_FALSE(base::exists(partial));
  CHECK(missing(client, 2, bytes)["partial"].empty());
}

TEST_CASE("an upload that does not fit on the disk is refused before it begins") {
  Client client;
  client.ask(1, {{"op", "put"}, {"bytes", std::uint64_t{1} << 60U}});
  const Frame frame = client.answer(1);
  CHECK(frame.type == FrameType::error);
  const Json error = *base::parse_json(frame.payload);
  CHECK(error["code"] == "store");
  CHECK(error["message"].get<std::string>().find("free") != std::string::npos);
}

TEST_CASE("an input becomes a read-only tree under its digest") {
  Client client;
  const std::string big(3'000'000, 'z');
  const std::string text = manifest({{"data/large.bin", big}, {"data/small.csv", "a,b\n"}});
  Put put(client, 1);
  put.announce(announcement({object(big), object("a,b\n"), object(text, "input")}));
  put.data(big + "a,b\n" + text);
  put.finish();
  const std::string digest = base::sha256_hex(text);
  const auto tree = format::StorePaths{client.store()}.inputs() / digest;
  CHECK(*base::read_file(tree / "data/small.csv") == "a,b\n");
  // The large one shares its bytes with the store, by a reflink or by a link.
  CHECK(base::sha256_file_hex(stdfs::canonical(tree / "data/large.bin")).value() == base::sha256_hex(big));
  struct stat status{};
  REQUIRE(::stat((tree / "data/large.bin").c_str(), &status) == 0);
  CHECK((status.st_mode & 0222U) == 0);
  CHECK(status.st_nlink == 1);
  REQUIRE(::stat((tree / "data").c_str(), &status) == 0);
  CHECK((status.st_mode & 0222U) == 0);
  const Json asked =
      client.reply(2, {{"op", "missing"}, {"blobs", Json::array()}, {"inputs", {digest, std::string(64, 'b')}}});
  CHECK(asked["inputs"] == Json::array({std::string(64, 'b')}));
}

TEST_CASE("data of a canceled upload is passed over") {
  Client client;
  client.ask(1, {{"op", "put"}});
  client.send(FrameType::note, 1, base::dump_json(announcement({object(std::string(8U << 20U, 'a'))})));
  client.send(FrameType::cancel, 1, "");
  client.send(FrameType::data, 1, "crossed on the way");  // of a stream that is gone: passed over
  CHECK(client.reply(2, {{"op", "ping"}}).contains("time"));
}
