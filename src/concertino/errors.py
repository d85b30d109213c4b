"""Every error that Concertino raises on purpose, and the one shape in which it leaves the process.

    ConcertinoError
    +-- InvalidRequest        400  the caller's fault, and the caller can mend it
    |   +-- UnsupportedParameter   the chosen engine cannot do what was asked
    |   +-- ContextTooLong         the conversation does not fit the model
    |   +-- BodyTooLarge      413
    +-- Unauthenticated       401
    +-- PolicyRefused         403  no specialist may see this request
    +-- NotFound              404  a path, a record
    |   +-- UnknownModel           no such specialist or skill
    +-- MethodNotAllowed      405
    +-- ConfigurationError    500  concertino.yaml, a card, a weights file
    +-- ModelError            503  catalogue and store
    |   +-- ModelMissing           not pulled yet
    |   +-- ModelCorrupt           bytes do not match their SHA-256
    |   +-- PullFailed             no source gave the bytes
    |   +-- ModelInUse        409   a running process serves it
    |   +-- DiskFull          507
    +-- BackendError          502  an engine or upstream failed
    |   +-- BackendUnavailable 503 not running, or not reachable
    |   +-- BackendTimeout    504
    +-- AuditUnavailable      503  the record could not be made durable, so nothing was answered
    +-- Overloaded            429
    +-- BudgetExhausted       429  the key's or the tenant's budget has no room for the request
    +-- BudgetUnavailable     503  budgets cannot be read or written, so nothing was answered
    +-- ShuttingDown          503
    +-- AddressInUse          500  the port is taken
    +-- FactoryError          500  making a specialist
        +-- RecipeInvalid     400  a recipe that cannot be followed
        +-- DataRefused       400  files or rows that nothing should be trained on
        +-- TrainingRefused   400  a training that would teach nothing, or an adapter that does not fit
        +-- EvaluationRefused 400  a measurement that would mean nothing
        +-- PromotionRefused  409  a version that did not pass the gate
        +-- UnknownVersion    404  no such version in the registry
        +-- RegistryCorrupt   500  a version whose bytes are not those it was named by

On the wire: `{"error": {"message", "type", "code", "param"}}`, the shape that OpenAI clients read. `code` is stable
and documented in docs/errors.md; `message` says what is wrong and what to do.
"""

from typing import Any, ClassVar

from concertino.types import Verdict


class ConcertinoError(Exception):
    """The root. `param` names the field or key at fault, where there is one."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    retry_after_s: float = 1.0
    """When it is worth trying again, for 429 and 503."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def to_wire(self) -> dict[str, Any]:
        """The body that leaves the process."""
        return {"error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param}}


class InvalidRequest(ConcertinoError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class ContextTooLong(InvalidRequest):
    code = "context_length_exceeded"


class BodyTooLarge(InvalidRequest):
    status = 413
    code = "body_too_large"


class Unauthenticated(ConcertinoError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class PolicyRefused(ConcertinoError):
    """`verdict` is what was refused by, for the audit log."""

    status = 403
    type = "permission_error"
    code = "policy_refused"

    def __init__(self, message: str, verdict: Verdict | None = None, *, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.verdict = verdict


class NotFound(ConcertinoError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class UnknownModel(NotFound):
    code = "model_not_found"


class MethodNotAllowed(ConcertinoError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class ConfigurationError(ConcertinoError):
    code = "configuration_error"


class ModelError(ConcertinoError):
    status = 503
    code = "model_error"


class ModelMissing(ModelError):
    code = "model_missing"


class ModelCorrupt(ModelError):
    code = "model_corrupt"


class PullFailed(ModelError):
    code = "pull_failed"


class ModelInUse(ModelError):
    status = 409
    code = "model_in_use"


class DiskFull(ModelError):
    status = 507
    code = "disk_full"


class BackendError(ConcertinoError):
    status = 502
    type = "backend_error"
    code = "backend_error"


class BackendUnavailable(BackendError):
    status = 503
    code = "backend_unavailable"


class BackendTimeout(BackendError):
    status = 504
    code = "backend_timeout"


class AuditUnavailable(ConcertinoError):
    status = 503
    code = "audit_unavailable"


class Overloaded(ConcertinoError):
    status = 429
    type = "rate_limit_error"
    code = "overloaded"


class BudgetExhausted(ConcertinoError):
    """`retry_after_s` is the time until the period of the budget renews."""

    status = 429
    type = "rate_limit_error"
    code = "budget_exhausted"

    def __init__(self, message: str, retry_after_s: float = 1.0, *, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class BudgetUnavailable(ConcertinoError):
    status = 503
    code = "budget_unavailable"


class ShuttingDown(ConcertinoError):
    status = 503
    code = "shutting_down"


class AddressInUse(ConcertinoError):
    code = "address_in_use"


class FactoryError(ConcertinoError):
    code = "factory_error"


class RecipeInvalid(FactoryError):
    status = 400
    type = "invalid_request_error"
    code = "recipe_invalid"


class DataRefused(FactoryError):
    status = 400
    type = "invalid_request_error"
    code = "data_refused"


class TrainingRefused(FactoryError):
    status = 400
    type = "invalid_request_error"
    code = "training_refused"


class EvaluationRefused(FactoryError):
    status = 400
    type = "invalid_request_error"
    code = "evaluation_refused"


class PromotionRefused(FactoryError):
    status = 409
    type = "invalid_request_error"
    code = "promotion_refused"


class UnknownVersion(FactoryError):
    status = 404
    type = "invalid_request_error"
    code = "version_not_found"


class RegistryCorrupt(FactoryError):
    code = "registry_corrupt"
