// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// Target::watch over a connection: hands what grows to the sink until all runs have ended. A file whose copy does not
/// fit is reconciled and the stream opened again from where the copies stand then.
Result<> watch_host(RunnerClient& client, std::span<const Watched> runs, EventSink& sink, const Cancel& cancel,
                    Until until);

/// Size and hash of a file of a run on the host, over its bytes, which come here for it.
Result<FileDigest> digest_on_host(RunnerClient& client, const std::string& run, const std::string& file,
                                  const Cancel& cancel);

}  // namespace trainctl::target
