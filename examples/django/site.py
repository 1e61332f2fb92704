"""A site of one file whose cache and sessions are in Redis: a page that is cached, and one that counts visits.

python examples/django/site.py runserver
"""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import cache_page

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for an example"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={
        "default": {
            "BACKEND": "redpool.contrib.django.RedisCache",
            "LOCATION": os.environ.get("REDIS_URL", "redis://localhost:6379/0"),
            "OPTIONS": {"timeout": 2, "name": "site"},
        }
    },
)


@cache_page(60)
def now(_request: HttpRequest) -> HttpResponse:
    """Say what time it is, or was within the last minute."""
    return HttpResponse(timezone.now().isoformat())


def visits(request: HttpRequest) -> JsonResponse:
    """Say how often this visitor was here."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


urlpatterns = [path("now", now), path("visits", visits)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
