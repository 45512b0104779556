// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// Asks for all of a run that is launched by the request before this one: what watch_host goes on with.
Result<RunnerStream> begin_watch(RunnerClient& client, const std::string& run);

/// Target::watch over a connection: hands what grows to the sink until all runs have ended. A file whose copy does not
/// fit is reconciled and the stream opened again from where the copies stand then. Supervisors that died are replaced
/// first, and now and then; with `begun`, of one run launched a moment ago, there are none.
Result<> watch_host(RunnerClient& client, std::span<const Watched> runs, EventSink& sink, const Cancel& cancel,
                    Until until, std::optional<RunnerStream> begun = {});

/// Size and hash of a file of a run on the host, over its bytes, which come here for it.
Result<FileDigest> digest_on_host(RunnerClient& client, const std::string& run, const std::string& file,
                                  const Cancel& cancel);

}  // namespace trainctl::target
