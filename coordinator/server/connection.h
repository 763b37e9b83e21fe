// One desktop's connection: greets it, hands its requests to the pools, sends the answers. Lives on the io
// thread.
//
// Bounds: kMaxRequests under way and kMaxUnsentBytes of answers, beyond which nothing more is read;
// kMaxUploads batches arriving, each with at most a window of bytes in memory, and as many that were
// abandoned and are being ended; one session being opened or closed at a time (one that waits for another
// desktop is not). All that takes memory is counted in the flight (flight.h), beyond whose limits nothing
// more is read; besides, each connection may have one frame. Of all connections of one desktop, one batch is
// decoded and committed at a time; of all desktops, one large batch.
#pragma once

#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <deque>
#include <map>
#include <set>

#include "common/wire/channel.h"
#include "coordinator/server/enroller.h"
#include "coordinator/server/flight.h"
#include "coordinator/server/presence.h"
#include "coordinator/server/rate_limit.h"
#include "coordinator/server/request_handler.h"
#include "coordinator/server/settings_source.h"
#include "coordinator/server/state_store.h"
#include "coordinator/server/turn.h"

namespace roamstead::server {

// What all connections share.
struct ConnectionContext {
  asio::thread_pool& request_pool;
  asio::thread_pool& commit_pool;
  asio::thread_pool& snapshot_pool;  // waits for hypervisors
  RequestHandler& handler;
  StateStore& store;
  Presence& presence;
  Turn& large_batch;  // of all desktops
  Enroller& enroller;
  Flight& flight;
  audit::AuditLog* audit;  // may be null
  SettingsSource settings_of;
};

// What the connections of one desktop share. Of the io thread.
struct DesktopShare {
  DesktopShare(const asio::any_io_executor& executor, TokenBucket limit)
      : commit(executor), requests(limit) {}
  Turn commit;
  TokenBucket requests;
  const std::shared_ptr<Flight::Share> flight = std::make_shared<Flight::Share>();
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  static constexpr std::size_t kMaxRequests = 64;
  static constexpr std::size_t kMaxUnsentBytes = 8u << 20;
  static constexpr std::size_t kMaxUploads = 4;

  // `desktop` is who its certificate says it is.
  Connection(std::shared_ptr<wire::Channel> channel, ConnectionContext context, std::string desktop,
             std::shared_ptr<DesktopShare> share);

  // After the TLS handshake: until the connection ends.
  asio::awaitable<void> run();
  void close() { channel_->close(); }
  // Takes nothing new, answers what is under way and closes; batches that are still arriving are dropped, and
  // so are opens that wait for another desktop.
  asio::awaitable<void> finish();
  const std::string& desktop() const { return desktop_; }
  const std::shared_ptr<DesktopShare>& share() const { return share_; }
  // To a desktop that was not greeted yet only settings, once it is: those in the greeting may be older.
  void push(const wire::Push& push);

 private:
  struct Bell;  // rung for an open that waits for another desktop
  struct Upload {
    std::uint64_t request = 0;
    wire::BatchBegin begin;
    struct Part {
      wire::Frame frame;
      Flight::Charge charge;
    };
    std::deque<Part> parts;  // arrived, not yet spooled
    std::size_t parts_bytes = 0;
    bool abandoned = false;
    asio::steady_timer arrived;  // a condition: cancelled when a part comes or the upload ends
    explicit Upload(const asio::any_io_executor& executor)
        : arrived(executor, asio::steady_timer::time_point::max()) {}
  };

  asio::awaitable<bool> greet();
  Result<void> dispatch(wire::Frame frame);
  Flight::Charge charged(std::uint64_t bytes);
  // Counts what waits to be sent until it has left.
  asio::awaitable<void> count_unsent();
  void answer(Bytes frame);
  Result<void> begin_upload(wire::Frame frame);
  Result<void> add_part(wire::Frame frame);
  asio::awaitable<void> serve(wire::Frame frame, Flight::Charge charge);
  asio::awaitable<void> serve_open(wire::Frame frame, Flight::Charge charge);
  asio::awaitable<void> converse();  // after the greeting
  asio::awaitable<void> pace();      // waits for this desktop's next request to be due
  asio::awaitable<void> serve_renewal(wire::Frame frame);
  asio::awaitable<void> take_batch(std::shared_ptr<Upload> upload);
  // The whole batch is in the spool, or the upload is over (answered, abandoned or cut).
  asio::awaitable<bool> receive(std::shared_ptr<Upload> upload, Spool& spool);
  void abandon_uploads();
  void wake();

  std::shared_ptr<wire::Channel> channel_;  // shared with its own pending operations
  ConnectionContext context_;
  asio::steady_timer changed_;  // a condition: cancelled when a request or a commit ends
  const std::string desktop_;
  const std::shared_ptr<DesktopShare> share_;
  bool greeted_ = false;
  std::optional<wire::Push> settings_push_;  // until it is greeted
  std::set<std::shared_ptr<Bell>> bells_;
  std::string serial_;  // of its certificate; known once it is greeted
  std::size_t requests_ = 0;
  std::size_t takings_ = 0;  // coroutines of uploads; those of abandoned ones end a little later
  bool changing_ = false;    // a session is being opened or closed
  bool finishing_ = false;
  bool counting_unsent_ = false;
  Flight::Charge unsent_;  // answers that wait to be sent
  std::map<std::uint64_t, std::shared_ptr<Upload>> uploads_;
};

}  // namespace roamstead::server
