// Tokens by which desktops enrol themselves.

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/base/random_hex.h"
#include "coordinator/server/command_table.h"
#include "coordinator/server/enroller.h"

namespace roamstead::server {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSecond_100ns = 10'000'000;
constexpr std::uint64_t kDefaultLife_s = 24 * 3600;
constexpr std::uint64_t kMaxLife_s = 90ull * 24 * 3600;
constexpr std::uint64_t kMaxUses = 10'000;

Result<json> create_token(const Invocation& call) {
  auto now = now_100ns();
  auto fresh = make_token();
  Token token;
  RS_TRY(token.pool, text_field_or(call.request, "pool", kDefaultPool));
  RS_TRY(token.uses, number_field_or(call.request, "uses", 1));
  RS_TRY(auto life, number_field_or(call.request, "life_s", kDefaultLife_s));
  if (token.uses == 0 || token.uses > kMaxUses)
    return fail(ErrorCode::invalid_argument, "a token has 1 to " + std::to_string(kMaxUses) + " uses");
  if (life == 0 || life > kMaxLife_s)
    return fail(ErrorCode::invalid_argument,
                "a token lives 1 to " + std::to_string(kMaxLife_s) + " seconds (90 days)");
  token.id = random_hex(4);
  token.digest = fresh.digest;
  token.uses_left = token.uses;
  token.created_100ns = now;
  token.expires_100ns = now + life * kSecond_100ns;
  token.created_by = call.caller.name;
  RS_CHECK(call.context.store.add_token(token));
  log_info("enrolment token {} made for pool '{}', {} uses", token.id, token.pool, token.uses);
  return json{{"id", token.id},
              {"token", fresh.text},
              {"pool", token.pool},
              {"uses", token.uses},
              {"expires_100ns", token.expires_100ns},
              {"coordinator", call.context.address},
              {"ca_pem", call.context.authority.certificate_pem()}};
}

const char* state_of(const Token& token, std::uint64_t now) {
  if (token.revoked_100ns != 0) return "revoked";
  if (token.uses_left == 0) return "used up";
  return now >= token.expires_100ns ? "expired" : "good";
}

Result<json> list_tokens(const Invocation& call) {
  RS_TRY(auto tokens, call.context.store.tokens());
  auto all = json::array();
  auto now = now_100ns();
  for (const auto& token : tokens)
    all.push_back({{"id", token.id},
                   {"pool", token.pool},
                   {"uses", token.uses},
                   {"uses_left", token.uses_left},
                   {"created_100ns", token.created_100ns},
                   {"expires_100ns", token.expires_100ns},
                   {"created_by", token.created_by},
                   {"state", state_of(token, now)}});
  return json{{"tokens", all}};
}

Result<json> revoke_token(const Invocation& call) {
  RS_TRY(auto id, text_field(call.request, "id"));
  RS_CHECK(call.context.store.revoke_token(id, now_100ns()));
  return json{{"id", id}, {"revoked", true}};
}

}  // namespace

void add_token_commands(CommandTable& table) {
  table.add({"token.create", Role::administrator, create_token, {"pool", "uses", "life_s"}});
  table.add({"token.list", Role::viewer, list_tokens, {}});
  table.add({"token.revoke", Role::administrator, revoke_token, {"id"}});
}

}  // namespace roamstead::server
