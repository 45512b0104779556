// SPDX-License-Identifier: Apache-2.0
#include "engine/patience.hpp"

#include <chrono>
#include <memory>
#include <utility>

#include "target/cancel.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

Result<std::unique_ptr<Patience>> Patience::begin(std::chrono::milliseconds limit) {
  TRY_ASSIGN(auto cancel, target::Cancel::create());
  TRY_ASSIGN(auto done, target::Cancel::create());
  return std::unique_ptr<Patience>(new Patience(limit, std::move(cancel), std::move(done)));
}

Patience::Patience(std::chrono::milliseconds limit, target::Cancel cancel, target::Cancel done)
    : cancel_(std::move(cancel)), done_(std::move(done)), thread_([this, limit] {
        if (done_.wait_ms(static_cast<int>(limit.count()))) return;
        over_ = true;
        cancel_.request();
      }) {}

Patience::~Patience() {
  done_.request();
  thread_.join();
}

}  // namespace trainctl::engine
