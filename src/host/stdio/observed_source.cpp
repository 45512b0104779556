// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/observed_source.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/launchers/launcher.hpp"
#include "host/stdio/operations.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

class ObservedSource final : public Source {
 public:
  ObservedSource(std::unique_ptr<Source> inner, std::unique_ptr<LaunchObserver> observer, bool follow)
      : inner_(std::move(inner)),
        observer_(std::move(observer)),
        follow_(follow),
        poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    observe();
  }

  Result<std::optional<Piece>> next(std::size_t max_bytes) override {
    if (!notes_.empty()) {
      Piece piece{std::move(notes_.front()), {}, nullptr};
      notes_.pop_front();
      return std::optional<Piece>(std::move(piece));
    }
    if (!follow_ && !observer_->settled()) return std::optional<Piece>{};
    return inner_->next(max_bytes);
  }

  [[nodiscard]] int fd() const override { return poll_.get(); }

  [[nodiscard]] int wait_ms() const override {
    const int inner = inner_->wait_ms();
    const int observer = observer_->wait_ms();
    return inner < 0 || observer < 0 ? std::max(inner, observer) : std::min(inner, observer);
  }

  void look() override {
    observe();
    inner_->look();
  }

 private:
  void observe() {
    for (Json& note : observer_->look()) notes_.push_back(std::move(note));
    listen(inner_->fd(), inner_fd_);
    listen(observer_->fd(), observer_fd_);
  }

  /// A closed descriptor has left the set by itself; its number may be in use again.
  void listen(int now, int& before) const {
    if (before >= 0 && before != now) (void)::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, before, nullptr);
    before = now;
    if (now < 0) return;
    epoll_event event{};
    event.events = EPOLLIN;
    (void)::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, now, &event);
  }

  std::unique_ptr<Source> inner_;
  std::unique_ptr<LaunchObserver> observer_;
  bool follow_ = true;
  std::deque<Json> notes_;
  base::UniqueFd poll_;
  int inner_fd_ = -1;
  int observer_fd_ = -1;
};

}  // namespace

std::unique_ptr<Source> with_observations(const StdioContext& context, const std::vector<std::string>& runs,
                                          bool follow, std::unique_ptr<Source> inner) {
  if (!context.poller) return inner;
  auto observer = observe_launches(format::StorePaths{context.store}, runs, context.poller);
  if (!observer) return inner;
  return std::make_unique<ObservedSource>(std::move(inner), std::move(observer), follow);
}

}  // namespace trainctl::host
