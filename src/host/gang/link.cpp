// SPDX-License-Identifier: Apache-2.0
#include "host/gang/link.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.hpp"
#include "base/random.hpp"
#include "host/gang/address.hpp"
#include "host/gang/codec.hpp"
#include "host/supervisor/reactor.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kNonce = 32;

std::string fresh_nonce() {
  std::string nonce(kNonce, '\0');
  base::fill_random(nonce.data(), nonce.size());
  return nonce;
}

}  // namespace

GangLink::GangLink(Reactor& reactor, base::UniqueFd socket, GangSide side, const std::string& key, Handlers handlers)
    : reactor_(reactor), socket_(std::move(socket)), codec_(side, key, fresh_nonce()), handlers_(std::move(handlers)) {
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  out_ = codec_.greeting();
  watch(true);  // writable: connected, or it failed
}

GangLink::~GangLink() {
  if (socket_) reactor_.unwatch(socket_.get());
}

void GangLink::watch(bool writable) {
  watches_writable_ = writable;
  reactor_.watch(socket_.get(), [this] { on_ready(); }, writable);
}

void GangLink::send(std::string message) {
  if (!open()) return;
  waiting_ = std::move(message);
  if (!connecting_) write_some();
}

void GangLink::on_ready() {
  if (connecting_) {
    int problem = 0;
    socklen_t size = sizeof problem;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
    if (problem != 0) return close(errno_text(problem));
    connecting_ = false;
  }
  const std::weak_ptr<bool> alive = alive_;
  if (read_some() && !alive.expired() && open()) write_some();
}

/// False when the link is closed, or gone.
bool GangLink::read_some() {
  std::array<char, 16384> buffer;  // NOLINT: filled by recv
  for (;;) {
    const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (count <= 0) {
      close(count == 0 ? "" : errno_text(errno));
      return false;
    }
    codec_.feed({buffer.data(), static_cast<std::size_t>(count)});
    for (;;) {
      auto message = codec_.next();
      if (!message) {
        close(message.error().message);
        return false;
      }
      if (!*message) break;
      const std::weak_ptr<bool> alive = alive_;
      handlers_.message(**message);
      if (alive.expired() || !open()) return false;
    }
  }
}

void GangLink::write_some() {
  for (;;) {
    if (out_.empty() && waiting_ && codec_.ready()) {
      auto bytes = codec_.encode(*std::exchange(waiting_, std::nullopt));
      if (bytes) out_ = std::move(*bytes);
    }
    if (out_.empty()) break;
    const ssize_t count = ::send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (count < 0) return close(errno_text(errno));
    out_.erase(0, static_cast<std::size_t>(count));
  }
  if (watches_writable_ != !out_.empty()) watch(!out_.empty());
}

void GangLink::close(const std::string& why) {
  if (!open()) return;
  reactor_.unwatch(socket_.get());
  socket_.reset();
  if (const auto closed = std::exchange(handlers_.closed, nullptr)) closed(why);
}

std::string GangLink::own_address() const {
  return address_of_socket(socket_.get(), SocketEnd::own);
}

std::string GangLink::peer_address() const {
  return address_of_socket(socket_.get(), SocketEnd::other);
}

}  // namespace trainctl::host
