// A morning's log-in storm: many simulated desktops on kept connections against one coordinator process over
// loopback TLS. Prints log-ins a second, reading compared with plain TLS moved between two processes in the
// same run, commits a second with their latency, and what coordinator and load generator cost.
//
// The load generator is a simulation: one thread that speaks the protocol on all connections, no agent and no
// disk. The coordinator is the real program on a real repository, with every flush.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <asio/co_spawn.hpp>
#include <asio/connect.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/redirect_error.hpp>
#include <asio/write.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/wire/batch_stream.h"
#include "common/wire/channel.h"
#include "common/wire/message.h"
#include "common/wire/tls.h"
#include "coordinator/server/authority_place.h"
#include "coordinator/server/commands.h"
#include "coordinator/server/testing/sample_batch.h"
#include "tests/support/coordinator_process.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"
#include "tests/timing/timing.h"

namespace {

using namespace roamstead;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using wire::Frame;
using wire::FrameType;

struct Options {
  std::string coordinator;  // the program
  int desktops = 1000;
  int rounds = 3;
  int readers = 100;  // that read a working set each
  std::size_t working_set_bytes = 10u << 20;
  int committers = 200;
  double commit_seconds = 5;
  double commit_rate = 1500;  // a second, of all; besides as fast as they are answered
  bool json = false;
};

using support::must;

double seconds(Clock::duration took) { return std::chrono::duration<double>(took).count(); }

double own_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

double quantile(std::vector<double> values, double which) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(which * static_cast<double>(values.size())))];
}

// The coordinator, and what it costs.
class MeasuredCoordinator {
 public:
  MeasuredCoordinator(const Options& options, const std::string& repository, const std::string& state)
      : process_(options.coordinator, {{"--repo", repository, "--state", state, "--listen", "127.0.0.1:0"},
                                       {},
                                       -1,
                                       true,
                                       state + "/log"}) {
    if (!process_.is_ready()) throw std::runtime_error("the coordinator did not start: " + state + "/log");
  }
  ~MeasuredCoordinator() { process_.terminate(); }
  const std::string& address() const { return process_.address(); }
  double cpu_seconds() const {
    std::ifstream file("/proc/" + std::to_string(process_.pid()) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    double user = 0, system = 0;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    fields >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  double peak_megabytes() const {
    std::ifstream file("/proc/" + std::to_string(process_.pid()) + "/status");
    for (std::string line; std::getline(file, line);)
      if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
    return 0;
  }

 private:
  support::CoordinatorProcess process_;
};

struct Desk {
  std::unique_ptr<asio::ssl::context> tls;
  std::shared_ptr<wire::Channel> channel;
  std::string profile;
  Guid secret;
  Guid incarnation;
  std::uint64_t ordinal = 0;
  std::uint64_t request = 0;
};

asio::awaitable<Frame> ask(Desk& desk, FrameType type, Bytes payload) {
  desk.channel->send(wire::encode_frame(type, ++desk.request, payload));
  for (;;) {
    auto frame = must(co_await desk.channel->read());
    if (frame.request != desk.request || frame.type == FrameType::credit) continue;
    if (frame.type == FrameType::failure)
      throw std::runtime_error(
          must(wire::decode_message<wire::Failure>(std::move(frame), "failure")).message);
    co_return frame;
  }
}

asio::awaitable<void> connect(Desk& desk, tcp::endpoint endpoint, asio::io_context& io) {
  tcp::socket socket(io);
  co_await socket.async_connect(endpoint, asio::use_awaitable);
  socket.set_option(tcp::no_delay(true));
  desk.channel = std::make_shared<wire::Channel>(
      std::move(socket), *desk.tls,
      wire::Channel::Timeouts{std::chrono::seconds(60), std::chrono::seconds(60),
                              std::chrono::milliseconds(0)});
  must(co_await desk.channel->handshake(asio::ssl::stream_base::client));
  wire::Hello hello;
  hello.software = "storm";
  desk.channel->send(wire::encode_frame(FrameType::hello, 0, wire::encode_message(hello)));
  must(co_await desk.channel->read());
}

// Requests are made before the expressions that wait for their answers: GCC 12 destroys aggregates made
// within such an expression twice.

// Metadata only: the session and the profile's top level.
asio::awaitable<void> log_in(Desk& desk) {
  const wire::OpenRequest open{desk.profile, "Users/u", {}};
  auto frame = co_await ask(desk, FrameType::open, wire::encode_message(open));
  auto reply = must(wire::decode_message<wire::OpenReply>(std::move(frame), "open"));
  desk.secret = reply.session_secret;
  desk.incarnation = reply.incarnation;
  desk.ordinal = 0;
  const wire::ListRequest list{desk.secret, {}, ""};
  co_await ask(desk, FrameType::list, wire::encode_message(list));
}

asio::awaitable<void> log_out(Desk& desk) {
  const wire::SessionRequest close{desk.secret};
  co_await ask(desk, FrameType::close, wire::encode_message(close));
}

asio::awaitable<void> read_working_set(Desk& desk, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += wire::kMaxReadBytes) {
    const wire::ReadRequest read{desk.secret, server::path_of("set.bin"), "", at,
                                 static_cast<std::uint32_t>(wire::kMaxReadBytes)};
    co_await ask(desk, FrameType::read, wire::encode_message(read));
  }
}

asio::awaitable<void> commit(Desk& desk, const std::string& text) {
  server::SampleBatch sample(desk.incarnation, ++desk.ordinal, {{"note.txt", text}});
  auto encoded = must(wire::encode_batch(sample.batch));
  wire::BatchBegin begin{desk.secret,    desk.incarnation, desk.ordinal,
                         encoded.size(), text.size(),      batch.snapshot};
  encoded.insert(encoded.end(), sample.contents[0].begin(), sample.contents[0].end());
  desk.channel->send(
      wire::encode_frame(FrameType::batch_begin, desk.request + 1, wire::encode_message(begin)));
  auto frame = co_await ask(desk, FrameType::batch_part, std::move(encoded));
  auto reply = must(wire::decode_message<wire::CommitReply>(std::move(frame), "commit"));
  if (reply.ordinal != desk.ordinal || reply.forked)
    throw std::runtime_error("a batch did not move the head");
}

class Storm {
 public:
  explicit Storm(const Options& options)
      : options_(options),
        repository_(folder_ / "repo"),
        state_(folder_ / "state"),
        authority_(os::join_path(state_, server::kAuthorityDirectory)) {}

  nlohmann::json run() {
    prepare();
    MeasuredCoordinator coordinator(options_, repository_, state_);
    const auto colon = coordinator.address().rfind(':');
    const tcp::endpoint endpoint(
        asio::ip::make_address(coordinator.address().substr(0, colon)),
        static_cast<unsigned short>(std::stoi(coordinator.address().substr(colon + 1))));
    measure("connecting", desks_.size(), coordinator,
            [&](Desk& desk) { return connect(desk, endpoint, io_); });
    for (int round = 0; round < options_.rounds; ++round) {
      measure("log-ins, metadata only", desks_.size(), coordinator, [](Desk& desk) { return log_in(desk); });
      measure("log-outs", desks_.size(), coordinator, [](Desk& desk) { return log_out(desk); });
    }
    read_and_compare(coordinator);
    commit_for_a_while(coordinator);
    result_["coordinator_peak_megabytes"] = coordinator.peak_megabytes();
    fmt::print("coordinator's peak memory {:.0f} MB\n", coordinator.peak_megabytes());
    return result_;
  }

 private:
  void prepare() {
    auto& files = os::real_file_system();
    must(repository::Repository::init(files, {repository_, state_, false}));
    auto repository = must(repository::Repository::open(files, {repository_, state_, false}, {}));
    std::filesystem::create_directories(folder_ / "small");
    std::filesystem::create_directories(folder_ / "large");
    for (const char* kind : {"small", "large"})
      for (int i = 0; i < 20; ++i)
        std::ofstream(folder_ / (std::string(kind) + "/file" + std::to_string(i))) << "content " << i;
    std::minstd_rand random(1);
    std::string noise(options_.working_set_bytes, 0);
    for (auto& c : noise) c = static_cast<char>(random() >> 8);
    std::ofstream(folder_ / "large/set.bin", std::ios::binary) << noise;
    auto authority = must(identity::CertificateAuthority::open_or_create(files, authority_));
    auto store = must(server::StateStore::open(state_));
    for (int i = 0; i < options_.desktops; ++i) {
      const auto desktop = "desk-" + std::to_string(i), profile = "user-" + std::to_string(i);
      const auto source = folder_ / (i < options_.readers ? "large" : "small");
      must(admin::execute(*repository,
                          {{"command", "profile.import"}, {"profile", profile}, {"source", source}}, {}));
      const auto issued = must(authority.issue_desktop(desktop));
      must(store->add_desktop({desktop, issued.serial, now_100ns(), 0}));
      must(store->assign({desktop, must(repository->find_profile(profile)).id, profile}));
      Desk desk;
      desk.profile = profile;
      desk.tls = must(
          wire::make_client_context({issued.certificate_pem, issued.key_pem, authority.certificate_pem()}));
      desks_.push_back(std::move(desk));
    }
  }

  // All of the first `count` desks at once, as fast as they are answered.
  double measure(const std::string& what, std::size_t count, const MeasuredCoordinator& coordinator,
                 const std::function<asio::awaitable<void>(Desk&)>& work) {
    const auto server_cpu = coordinator.cpu_seconds(), own_cpu = own_cpu_seconds();
    std::vector<double> latencies;
    const auto start = Clock::now();
    for (std::size_t i = 0; i < count; ++i)
      asio::co_spawn(
          io_,
          [&, i]() -> asio::awaitable<void> {
            co_await work(desks_[i]);
            latencies.push_back(seconds(Clock::now() - start));
          },
          [this](const std::exception_ptr& error) { finished(error); });
    wait_for(count);
    const auto took = seconds(Clock::now() - start);
    const auto rate = static_cast<double>(count) / took;
    fmt::print(
        "{:28} {:8.0f} a second   last after {:.0f} ms, median {:.0f} ms; CPU coordinator {:.2f} s, load "
        "{:.2f} s\n",
        what, rate, took * 1e3, quantile(latencies, 0.5) * 1e3, coordinator.cpu_seconds() - server_cpu,
        own_cpu_seconds() - own_cpu);
    result_[what].push_back({{"per_second", rate},
                             {"seconds", took},
                             {"coordinator_cpu_seconds", coordinator.cpu_seconds() - server_cpu},
                             {"load_cpu_seconds", own_cpu_seconds() - own_cpu}});
    return took;
  }

  void read_and_compare(const MeasuredCoordinator& coordinator) {
    const auto readers = static_cast<std::size_t>(std::min(options_.readers, options_.desktops));
    const auto bytes = static_cast<double>(readers * options_.working_set_bytes);
    measure("log-ins of the readers", readers, coordinator, [](Desk& desk) { return log_in(desk); });
    std::vector<double> ratios;
    for (int round = 0; round < options_.rounds; ++round) {
      const auto ours = bytes / measure("working sets", readers, coordinator, [&](Desk& desk) {
                          return read_working_set(desk, options_.working_set_bytes);
                        });
      const auto plain = plain_tls(bytes);
      ratios.push_back(ours / plain);
      fmt::print("  working sets {:.0f} MB/s, plain TLS {:.0f} MB/s, ratio {:.2f}\n", ours / 1e6, plain / 1e6,
                 ours / plain);
      result_["working_set_ratio"].push_back(ours / plain);
    }
    measure("log-outs of the readers", readers, coordinator, [](Desk& desk) { return log_out(desk); });
    fmt::print("working sets against plain TLS: median ratio {:.2f}\n", timing::median(ratios));
  }

  // Bytes a second from one process to another through TLS 1.3 and loopback, nothing else being done.
  double plain_tls(double bytes) {
    int out[2];
    if (::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    auto& files = os::real_file_system();
    auto authority = must(identity::CertificateAuthority::open_or_create(
        files, os::join_path(state_, server::kAuthorityDirectory)));
    auto issued = must(authority.issue_server({wire::kCoordinatorName}));
    const auto child = ::fork();
    if (child == 0) {
      asio::io_context io;
      auto tls = must(
          wire::make_server_context({issued.certificate_pem, issued.key_pem, authority.certificate_pem()}));
      tcp::acceptor acceptor(io, {asio::ip::make_address("127.0.0.1"), 0});
      const auto port = acceptor.local_endpoint().port();
      if (::write(out[1], &port, sizeof port) != sizeof port) ::_exit(1);
      asio::ssl::stream<tcp::socket> stream(acceptor.accept(), *tls);
      stream.handshake(asio::ssl::stream_base::server);
      Bytes block(1u << 20, std::byte{7});
      for (double sent = 0; sent < bytes; sent += static_cast<double>(block.size()))
        asio::write(stream, asio::buffer(block));
      char end = 0;
      asio::error_code ignored;
      asio::read(stream, asio::buffer(&end, 1), ignored);
      ::_exit(0);
    }
    unsigned short port = 0;
    if (::read(out[0], &port, sizeof port) != sizeof port)
      throw std::runtime_error("plain TLS did not start");
    ::close(out[0]);
    ::close(out[1]);
    asio::io_context io;
    asio::ssl::stream<tcp::socket> stream(io, *desks_[0].tls);
    stream.next_layer().connect({asio::ip::make_address("127.0.0.1"), port});
    stream.handshake(asio::ssl::stream_base::client);
    Bytes block(1u << 20);
    const auto start = Clock::now();
    for (double got = 0; got < bytes;) got += static_cast<double>(stream.read_some(asio::buffer(block)));
    const auto took = seconds(Clock::now() - start);
    stream.next_layer().close();
    ::waitpid(child, nullptr, 0);
    return bytes / took;
  }

  void commit_for_a_while(const MeasuredCoordinator& coordinator) {
    const auto count = static_cast<std::size_t>(std::min(options_.committers, options_.desktops));
    measure("log-ins of the committers", count, coordinator, [](Desk& desk) { return log_in(desk); });
    commit_at("as fast as answered", count, 0, coordinator);
    commit_at("paced", count, options_.commit_rate, coordinator);
  }

  // `rate` batches a second by all together, evenly spread; 0: each session sends the next when one is
  // answered.
  void commit_at(const std::string& how, std::size_t count, double rate,
                 const MeasuredCoordinator& coordinator) {
    const auto server_cpu = coordinator.cpu_seconds(), own_cpu = own_cpu_seconds();
    std::vector<double> latencies;
    const auto start = Clock::now();
    const auto duration = [](double of_seconds) {
      return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(of_seconds));
    };
    const auto until = start + duration(options_.commit_seconds);
    for (std::size_t i = 0; i < count; ++i)
      asio::co_spawn(
          io_,
          [&, i]() -> asio::awaitable<void> {
            asio::steady_timer timer(io_);
            auto due = start + duration(rate == 0 ? 0 : static_cast<double>(i) / rate);
            for (int n = 0; Clock::now() < until; ++n) {
              if (rate != 0) {
                timer.expires_at(due);
                co_await timer.async_wait(asio::use_awaitable);
              }
              // A late start counts as waiting: the user did.
              const auto began = rate != 0 ? due : Clock::now();
              const auto text = fmt::format("change {} of desk {}, a line of text that somebody wrote", n, i);
              co_await commit(desks_[i], text);
              latencies.push_back(seconds(Clock::now() - began));
              due += duration(rate == 0 ? 0 : static_cast<double>(count) / rate);
            }
          },
          [this](const std::exception_ptr& error) { finished(error); });
    wait_for(count);
    const auto reached = static_cast<double>(latencies.size()) / seconds(Clock::now() - start);
    fmt::print(
        "commits of {} sessions, {}: {:.0f} a second; median {:.1f} ms, p99 {:.1f} ms; CPU coordinator "
        "{:.2f} s, "
        "load {:.2f} s\n",
        count, how, reached, quantile(latencies, 0.5) * 1e3, quantile(latencies, 0.99) * 1e3,
        coordinator.cpu_seconds() - server_cpu, own_cpu_seconds() - own_cpu);
    result_["commits, " + how] = {{"per_second", reached},
                                  {"p50_ms", quantile(latencies, 0.5) * 1e3},
                                  {"p99_ms", quantile(latencies, 0.99) * 1e3}};
  }

  // The channels' own coroutines go on; only what was begun here is waited for.
  void wait_for(std::size_t count) {
    running_ = count;
    io_.restart();
    io_.run();
    if (!failure_.empty()) throw std::runtime_error(failure_);
  }
  void finished(const std::exception_ptr& error) {
    if (error && failure_.empty()) try {
        std::rethrow_exception(error);
      } catch (const std::exception& exception) {
        failure_ = exception.what();
      }
    if (--running_ == 0 || !failure_.empty()) io_.stop();
  }

  const Options options_;
  support::TemporaryDirectory folder_;
  const std::string repository_, state_, authority_;
  asio::io_context io_{1};
  std::vector<Desk> desks_;
  std::size_t running_ = 0;
  std::string failure_;  // the first one ends the run
  nlohmann::json result_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A log-in storm against the coordinator", "storm_timing"};
  Options options;
  options.coordinator = ROAMSTEAD_COORDINATOR;
  app.add_option("--desktops", options.desktops)->capture_default_str();
  app.add_option("--rounds", options.rounds)->capture_default_str();
  app.add_option("--readers", options.readers)->capture_default_str();
  app.add_option("--committers", options.committers)->capture_default_str();
  app.add_option("--commit-seconds", options.commit_seconds)->capture_default_str();
  app.add_option("--commit-rate", options.commit_rate, "Batches a second of all committers, in the paced run")
      ->capture_default_str();
  app.add_flag("--json", options.json, "The figures as JSON, at the end");
  CLI11_PARSE(app, argc, argv);
  set_log_level(LogLevel::error);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  try {
    const auto result = Storm(options).run();
    if (options.json) std::cout << result.dump(2) << '\n';
  } catch (const std::exception& error) {
    std::cerr << "storm_timing: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
