#include "coordinator/rest/rest_server.h"

#include <asio/ssl/context.hpp>

#include "common/base/file_time.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/wire/tls.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/rest/problem.h"
#include "coordinator/rest/rest_api.h"

namespace roamstead::rest {
namespace {

// The certificate is of the authority, or the handshake would have failed; whose it is, and whether it still
// counts, is for the state store to say.
Result<server::Caller> caller_of(server::StateStore& store, SSL* ssl, const std::string& address) {
  RS_TRY(auto peer, wire::peer_certificate(ssl));
  if (peer.kind != wire::kAdministratorKind)
    return fail(ErrorCode::denied, "'" + peer.common_name + "' has a certificate that is no administrator's");
  RS_TRY(auto known, store.check_administrator(peer.common_name, peer.serial, now_100ns()));
  const auto role = server::parse_role(known.role);
  if (!role) return fail(ErrorCode::denied, "administrator '" + known.name + "' has no role that is known");
  return server::Caller{known.name, *role, "tls:" + address};
}

}  // namespace

class RestServer::Impl {
 public:
  Impl(RestOptions options, std::function<server::CommandContext()> context)
      : options_(std::move(options)), context_(std::move(context)) {}
  ~Impl() {
    if (api_) api_->stop();
    server_.reset();  // before what it answers with
  }

  Result<void> start() {
    RS_TRY(auto address, parse_host_port(options_.listen));
    names_ = {wire::kCoordinatorName};
    if (address.host != "0.0.0.0" && address.host != "::") names_.push_back(address.host);
    names_.insert(names_.end(), options_.names.begin(), options_.names.end());
    RS_TRY(api_, RestApi::create({context_, options_.version}));
    HttpsServer::Handlers handlers;
    handlers.context = [this] { return fresh_context(); };
    handlers.admit = [this](SSL* ssl, const std::string& from) -> Result<HttpsClient> {
      RS_TRY(auto caller, caller_of(context_().store, ssl, from));
      return HttpsClient{caller.name, from};
    };
    handlers.answer = [this](const HttpsClient& client, SSL* ssl, const HttpRequest& request) {
      return answer(client, ssl, request);
    };
    handlers.refuse = [](const HttpRefusal& refusal) { return problem_response(refusal); };
    handlers.note_refused = [this](const std::string& from, const Error& why) { note_refused(from, why); };
    RS_TRY(server_, HttpsServer::start(options_.listen, std::move(handlers), options_.limits));
    return {};
  }

  const std::string& address() const { return server_->address(); }

 private:
  Result<std::shared_ptr<SSL_CTX>> fresh_context() const {
    const auto context = context_();
    RS_TRY(auto issued, context.authority.issue_server(names_));
    RS_TRY(auto made, wire::make_server_context(
                          {issued.certificate_pem, issued.key_pem, context.authority.certificate_pem()}));
    std::shared_ptr<asio::ssl::context> owner(std::move(made));
    return std::shared_ptr<SSL_CTX>(owner, owner->native_handle());
  }

  // The certificate is asked for again each time: it may have been revoked or have ended since the last.
  HttpResponse answer(const HttpsClient& client, SSL* ssl, const HttpRequest& request) {
    auto caller = caller_of(context_().store, ssl, client.address);
    if (!caller) {
      note_refused(client.address, caller.error());
      auto response = problem_response(problem_kind("denied"), caller.error().to_string());
      response.close = true;
      return response;
    }
    const auto role = caller->role;
    auto may_go_on = [this, ssl, from = client.address, role] {
      auto again = caller_of(context_().store, ssl, from);
      return again && again->role >= role;
    };
    return api_->answer(*caller, request, may_go_on);
  }

  void note_refused(const std::string& from, const Error& why) {
    log_info("REST: refused {}: {}", from, why.to_string());
    auto* audit = context_().audit;
    if (audit == nullptr || why.code != ErrorCode::denied) return;
    audit->append({"admin.connect", "address " + from, "REST", audit::Outcome::refused, why.to_string(), {}});
  }

  const RestOptions options_;
  const std::function<server::CommandContext()> context_;
  std::vector<std::string> names_;
  std::unique_ptr<RestApi> api_;
  std::unique_ptr<HttpsServer> server_;
};

RestServer::RestServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RestServer::~RestServer() = default;
const std::string& RestServer::address() const { return impl_->address(); }

Result<std::unique_ptr<RestServer>> RestServer::start(const RestOptions& options,
                                                      std::function<server::CommandContext()> context) {
  auto impl = std::make_unique<Impl>(options, std::move(context));
  RS_CHECK(impl->start());
  return std::unique_ptr<RestServer>(new RestServer(std::move(impl)));
}

}  // namespace roamstead::rest
