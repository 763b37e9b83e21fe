// Computer accounts in Active Directory, made over LDAP: one connection, bound once, for as many accounts as
// a pool has. What it asks of a domain is documented in MS-ADTS; docs/domain-join.md says which rights the
// account needs that the coordinator binds with.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/join/odj_blob.h"

struct ldap;  // libldap's

namespace roamstead::join {

struct DirectoryOptions {
  // "ldap://dc1.corp.example.com" or "ldaps://…": one domain controller, by the name in its certificate or
  // service principal.
  std::string url;
  // Who binds: a distinguished name or "user@corp.example.com". Empty: Kerberos, with the ticket cache or the
  // client keytab that KRB5CCNAME or KRB5_CLIENT_KTNAME names, over ldap:// alone, as Kerberos encrypts.
  std::string bind_name;
  SecretBytes bind_password;  // UTF-8
  // PEM file with the authorities that may have signed the controller's certificate; empty: the system's.
  std::string ca_file;
  // How long one answer may take.
  std::chrono::milliseconds timeout{30'000};
};

// What to do with an account that exists.
enum class ExistingAccount : std::uint8_t {
  refuse,
  reuse,  // gets a new password and this machine's names, stays where it is
};

struct AccountRequest {
  std::string machine_name;      // up to 15 characters, without '$'
  SecretBytes machine_password;  // UTF-16LE without an ending NUL
};

struct Account {
  std::string distinguished_name;
  Sid sid;
  bool created = false;  // else an existing one was reused; what undoes a pool deletes created ones only

  std::uint32_t rid() const { return sid.parts.back(); }
};

// Not thread-safe. After ErrorCode::unavailable or timeout the connection is of no more use: connect again.
class Directory {
 public:
  // Connects and binds. Never sends a password but over TLS whose certificate was checked, or Kerberos.
  static Result<Directory> connect(const DirectoryOptions& options);

  // The domain that the controller serves.
  const Domain& domain() const { return domain_; }
  // The controller itself, as blobs name it.
  const Controller& controller() const { return controller_; }

  // The distinguished name of the container for new accounts: `wanted` if it exists; the domain's own for
  // computers where `wanted` is empty.
  Result<std::string> container(std::string_view wanted);

  // In `container`, several requests under way at once; one answer for each request, in their order. An error
  // of one is that one's alone; when the connection is lost all that had no answer get
  // ErrorCode::unavailable.
  std::vector<Result<Account>> create_accounts(std::span<const AccountRequest> requests,
                                               const std::string& container, ExistingAccount existing);
  Result<Account> create_account(const AccountRequest& request, const std::string& container,
                                 ExistingAccount existing);

  // An account by its machine's name, wherever it is.
  Result<std::optional<Account>> find_account(std::string_view machine_name);
  // With what lies below it (BitLocker keys, printers). What is gone already is no error.
  Result<void> delete_account(const std::string& distinguished_name);

 private:
  struct Unbind {
    void operator()(ldap* connection) const;
  };
  Directory() = default;
  Result<void> secure(const DirectoryOptions& options);
  Result<void> bind(const DirectoryOptions& options);
  Result<void> read_domain();
  void describe_controller(std::string_view host, const std::string& server_name);
  tl::unexpected<Error> failure(int code, const std::string& what) const;
  Result<Account> reuse(const AccountRequest& request, Account account);
  Result<int> send_add(const AccountRequest& request, const std::string& container);
  Result<int> send_read(const std::string& distinguished_name);

  std::unique_ptr<ldap, Unbind> connection_;
  std::string url_;
  std::string naming_context_;  // "DC=corp,DC=example,DC=com"
  std::chrono::milliseconds timeout_{};
  Domain domain_;
  Controller controller_;
};

}  // namespace roamstead::join
