// SPDX-License-Identifier: Apache-2.0
// Admission over real files and real processes.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "host/admission/admission.hpp"
#include "host/admission/slot_folder.hpp"
#include "host/resources/capacity.hpp"
#include "host/resources/gpu.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace stdfs = std::filesystem;

namespace {

/// A slot folder of its own, and a PATH whose first entry is ours for a fake nvidia-smi.
class Bench {
 public:
  Bench() : path_(std::getenv("PATH") ? std::getenv("PATH") : "") {
    std::string name = (stdfs::temp_directory_path() / "slots-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    ::setenv("TRAINCTL_SLOTS", (root_ / "slots").c_str(), 1);
    ::unsetenv("CUDA_VISIBLE_DEVICES");
  }
  ~Bench() {
    ::unsetenv("TRAINCTL_SLOTS");
    ::setenv("PATH", path_.c_str(), 1);
    stdfs::remove_all(root_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  /// Two GPUs; `apps` is what --query-compute-apps prints.
  void fake_gpus(const std::string& apps) {
    const stdfs::path program = root_ / "bin" / "nvidia-smi";
    stdfs::create_directories(program.parent_path());
    const std::string script =
        "#!/bin/sh\necho \"$1\" >> " + (root_ / "calls").string() +
        "\ncase \"$1\" in\n--query-gpu=*) printf '0, GPU-aaa, 1000, Test GPU\\n1, GPU-bbb, 1000, Test GPU\\n' ;;\n"
        "--query-compute-apps=*) printf '" +
        apps + "' ;;\nesac\n";
    REQUIRE(base::write_file_atomic(program, script, 0755));
    REQUIRE(::chmod(program.c_str(), 0755) == 0);
    ::setenv("PATH", (program.parent_path().string() + ":" + path_).c_str(), 1);
  }
  [[nodiscard]] const stdfs::path& root() const { return root_; }

 private:
  stdfs::path root_;
  std::string path_;
};

SlotRequest request(const char* name, std::int64_t submitted) {
  SlotRequest out;
  out.run = base::new_ulid();
  out.name = name;
  out.user = "mona";
  out.submitted_ms = submitted;
  return out;
}

bool is_admitted(Admission& admission, Ticket& ticket) {
  auto outcome = admission.try_admit(ticket);
  REQUIRE(outcome);
  return std::holds_alternative<Admitted>(*outcome);
}

/// Waits until the inotify descriptor is readable.
bool woken(const Admission& admission) {
  pollfd poll{admission.wait_fd(), POLLIN, 0};
  return ::poll(&poll, 1, 5000) == 1;
}

}  // namespace

TEST_CASE("a run that states nothing touches no disk") {
  const Bench bench;
  auto admission = Admission::open();
  REQUIRE(admission);
  auto ticket = admission->enqueue(request("plain", 1));
  REQUIRE(ticket);
  CHECK(is_admitted(*admission, *ticket));
  CHECK(ticket->slot_fd() == -1);
  CHECK_FALSE(stdfs::exists(bench.root() / "slots"));
  CHECK(admission->holders()->empty());
}

TEST_CASE("two runs share a host one after the other, and the end of the first wakes the second") {
  const Bench bench;
  auto first = Admission::open();
  auto second = Admission::open();
  SlotRequest one = request("one", 1);
  SlotRequest two = request("two", 2);
  one.cpus = two.cpus = read_capacity().cpus;
  auto a = first->enqueue(one);
  auto b = second->enqueue(two);
  REQUIRE(a);
  REQUIRE(b);
  CHECK(is_admitted(*first, *a));
  auto outcome = second->try_admit(*b);
  REQUIRE(outcome);
  REQUIRE(std::holds_alternative<Waiting>(*outcome));
  CHECK(std::get<Waiting>(*outcome).key.find("held by one (pid ") != std::string::npos);
  const auto holders = second->holders();
  REQUIRE(holders);
  REQUIRE(holders->size() == 2);
  CHECK(holders->front().request.name == "one");
  CHECK(holders->front().admitted);
  CHECK_FALSE(holders->back().admitted);
  second->drain();
  first->release(*a);
  CHECK(woken(*second));
  CHECK(is_admitted(*second, *b));
  struct stat status{};
  REQUIRE(::stat((bench.root() / "slots").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0700U);
}

TEST_CASE("a slot lives as long as a waiter that inherited it") {
  const Bench bench;
  auto first = Admission::open();
  auto second = Admission::open();
  SlotRequest one = request("one", 1);
  one.cpus = read_capacity().cpus;
  SlotRequest two = request("two", 2);
  two.cpus = one.cpus;
  auto a = first->enqueue(one);
  REQUIRE(a);
  REQUIRE(is_admitted(*first, *a));
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t waiter = ::fork();
  if (waiter == 0) {  // a forked waiter: holds the slot until told
    ::close(ends[1]);
    char byte = 0;
    (void)!::read(ends[0], &byte, 1);
    ::_exit(0);
  }
  ::close(ends[0]);
  first->release(*a);
  auto b = second->enqueue(two);
  REQUIRE(b);
  CHECK_FALSE(is_admitted(*second, *b));
  auto again = first->enqueue(one);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == Errc::unavailable);
  CHECK(again.error().retryable);
  second->drain();
  ::close(ends[1]);
  CHECK(woken(*second));
  ::waitpid(waiter, nullptr, 0);
  CHECK(is_admitted(*second, *b));
  CHECK(second->holders()->size() == 1);  // the dead file is gone
}

TEST_CASE("a killed supervisor leaves no reservation") {
  const Bench bench;
  SlotRequest one = request("one", 1);
  one.memory = read_capacity().memory;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto admission = Admission::open();
    auto ticket = admission->enqueue(one);
    const bool good = ticket && admission->try_admit(*ticket).has_value();
    (void)!::write(ends[1], good ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  REQUIRE(::read(ends[0], &answer, 1) == 1);
  REQUIRE(answer == 'y');
  auto admission = Admission::open();
  CHECK(admission->holders()->size() == 1);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(admission->holders()->empty());
  auto ticket = admission->enqueue(one);  // the adopter takes the same run's place
  REQUIRE(ticket);
  CHECK(is_admitted(*admission, *ticket));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("more than the host has is an error that names what there is") {
  const Bench bench;
  auto admission = Admission::open();
  SlotRequest wants = request("big", 1);
  wants.cpus = 100'000;
  auto ticket = admission->enqueue(wants);
  REQUIRE(ticket);
  auto outcome = admission->try_admit(*ticket);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == Errc::cannot_start);
  CHECK(outcome.error().message.find("100000 cpus, this host has ") != std::string::npos);
}

TEST_CASE("GPUs: inventory, strangers and narrowing through nvidia-smi") {
  Bench bench;
  bench.fake_gpus("GPU-aaa, 1, 500, /usr/bin/python, really\\n");
  auto admission = Admission::open();
  SlotRequest one = request("one", 1);
  one.gpus = 1;
  auto a = admission->enqueue(one);
  REQUIRE(a);
  auto outcome = admission->try_admit(*a);
  REQUIRE(outcome);
  REQUIRE(std::holds_alternative<Admitted>(*outcome));
  CHECK(std::get<Admitted>(*outcome).gpus == std::vector<int>{1});
  CHECK(std::get<Admitted>(*outcome).slot_fd == a->slot_fd());

  SlotRequest two = request("two", 2);
  two.gpus = 1;
  auto b = admission->enqueue(two);
  REQUIRE(b);
  outcome = admission->try_admit(*b);
  REQUIRE(outcome);
  REQUIRE(std::holds_alternative<Waiting>(*outcome));
  CHECK(std::get<Waiting>(*outcome).key.find("held by one") != std::string::npos);

  const auto slots = admission->describe();
  REQUIRE(slots);
  CHECK(slots->gpus.size() == 2);
  REQUIRE(slots->strangers.size() == 1);
  CHECK(slots->strangers[0].gpu == 0);
  CHECK(slots->strangers[0].process.name == "/usr/bin/python, really");

  ::setenv("CUDA_VISIBLE_DEVICES", "1", 1);
  auto narrowed = Admission::open();
  SlotRequest three = request("three", 3);
  three.gpus = 2;
  auto c = narrowed->enqueue(three);
  REQUIRE(c);
  auto refused = narrowed->try_admit(*c);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "the run wants 2 GPUs, this host has 1 GPU (1: Test GPU)");
}

TEST_CASE("a planted link or a foreign folder is refused") {
  const Bench bench;
  stdfs::create_directory(bench.root() / "elsewhere");
  stdfs::create_symlink(bench.root() / "elsewhere", bench.root() / "slots");
  auto admission = Admission::open();
  SlotRequest wants = request("one", 1);
  wants.cpus = 1;
  auto ticket = admission->enqueue(wants);
  REQUIRE_FALSE(ticket);
  CHECK(ticket.error().code == Errc::denied);
}

TEST_CASE("a lock held by a stopped process makes runs wait with its pid, not hang") {
  const Bench bench;
  auto admission = Admission::open();
  SlotRequest wants = request("one", 1);
  wants.cpus = 1;
  auto ticket = admission->enqueue(wants);
  REQUIRE(ticket);
  const auto lock = base::open_file(bench.root() / "slots" / "lock", O_RDONLY);
  REQUIRE(lock);
  REQUIRE(::flock(lock->get(), LOCK_EX | LOCK_NB) == 0);
  auto outcome = admission->try_admit(*ticket);
  REQUIRE(outcome);
  REQUIRE(std::holds_alternative<Waiting>(*outcome));
  CHECK(std::get<Waiting>(*outcome).reason.find("locked by process " + std::to_string(::getpid())) !=
        std::string::npos);
}

TEST_CASE("CUDA_VISIBLE_DEVICES: indices, UUID prefixes, the first bad one ends the list") {
  const std::vector<Gpu> gpus = {{0, "GPU-aaa", "A", 1}, {1, "GPU-bbb", "B", 1}};
  CHECK(narrow_gpus(gpus, "1,0").front().index == 1);
  CHECK(narrow_gpus(gpus, "GPU-b").size() == 1);
  CHECK(narrow_gpus(gpus, "0,7,1").size() == 1);
  CHECK(narrow_gpus(gpus, "-1").empty());
  CHECK(narrow_gpus(gpus, "").empty());
}

TEST_CASE("the folders of slots are removed unless a slot is held") {
  const Bench bench;
  const stdfs::path around = bench.root() / ("trainctl-" + std::to_string(::geteuid()));
  const stdfs::path folder = around / "slots-now";
  ::setenv("TRAINCTL_SLOTS", folder.c_str(), 1);
  auto admission = Admission::open();
  SlotRequest one = request("one", 1);
  one.cpus = 1;
  auto ticket = admission->enqueue(one);
  REQUIRE(ticket);
  REQUIRE(is_admitted(*admission, *ticket));
  stdfs::create_directories(around / "slots-before");
  REQUIRE(base::write_file_atomic(around / "slots-before" / "lock", "", 0600));

  const int waiter = ::dup(ticket->slot_fd());  // as a waiter has it whose supervisor was killed
  admission = Admission::open();
  *ticket = Ticket();
  remove_slot_folders();
  CHECK(stdfs::exists(folder / "lock"));
  CHECK_FALSE(stdfs::exists(around / "slots-before"));

  ::close(waiter);
  remove_slot_folders();
  CHECK_FALSE(stdfs::exists(around));
  CHECK(admission->enqueue(one));
}
